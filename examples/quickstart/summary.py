"""Write a page about the quickstart's results, work/summary.html: masks, loss of each step, LoRA and its metadata."""

from __future__ import annotations

import base64
import html
import json
from pathlib import Path

from safetensors import safe_open

WORK = Path(__file__).parent / "work"
TIERS = {"face": "#d55e00", "body": "#56b4e9", "hair": "#b8a800", "background": "#555555"}
SHOWN_METADATA = (
    "ss_base_model_version",
    "ss_network_dim",
    "ss_steps",
    "ss_mask_gamma",
    "ss_mask_min_weight",
    "ss_mask_region_shares",
    "sshs_model_hash",
)
PAGE = """<!doctype html><meta charset="utf-8"><title>blissmask quickstart</title>
<style>body{{font:16px/1.5 system-ui,sans-serif;max-width:62rem;margin:2rem auto;padding:0 \
1rem}}img,svg{{max-width:100%}}
td,th{{text-align:left;padding:.15rem 1rem .15rem 0}}
code{{background:#eee;padding:0 .2rem}}</style>
<h1>From three photos to a LoRA</h1>
<h2>Masks</h2><p>Photo, weighted mask, and the weights on the model's latent grid.</p>
<img alt="contact sheet" src="data:image/png;base64,{sheet}">
<h2>What training saw</h2><p>{cached} cache entries in <code>work/cache</code>.</p>
<h2>Loss of each region</h2>{curve}
<p>The model is a miniature with random weights: the loss shows that every part works, not that anything was \
learned.</p>
<h2>The LoRA</h2><p><code>{lora}</code>, {tensors} tensors, {kibibytes} KiB</p><table>{rows}</table>
"""


def main() -> None:
    """Write the page and print where it is."""
    (lora,) = (WORK / "lora").glob("*.safetensors")
    with safe_open(lora, "np") as file:
        metadata, tensors = file.metadata(), len(list(file.keys()))
    (log,) = (WORK / "lora").glob("*.jsonl")
    page = PAGE.format(
        sheet=base64.b64encode((WORK / "sheet.png").read_bytes()).decode(),
        cached=len([path for path in (WORK / "cache").glob("*.safetensors") if not path.stem.endswith("_te")]),
        curve=draw_curve([json.loads(line) for line in log.read_text().splitlines()]),
        lora=html.escape(lora.relative_to(WORK.parent).as_posix()),
        tensors=tensors,
        kibibytes=lora.stat().st_size // 1024,
        rows="".join(f"<tr><td>{name}</td><td>{html.escape(metadata[name])}</td></tr>" for name in SHOWN_METADATA),
    )
    (WORK / "summary.html").write_text(page, encoding="utf-8")
    print(f"\nThe LoRA: {lora.relative_to(WORK.parent)}\nOn one page: {WORK / 'summary.html'}")


def draw_curve(steps: list[dict[str, float]], width: int = 900, height: int = 260) -> str:
    """Return an SVG with one line per region, and the region's name in the line's colour."""
    values = {tier: [step[f"loss/{tier}"] for step in steps if f"loss/{tier}" in step] for tier in TIERS}
    top = max(value for line in values.values() for value in line)
    parts = [
        f'<svg viewBox="0 0 {width} {height}" role="img">',
        f'<path d="M30 10V{height - 30}H{width}" fill="none" stroke="#999"/>',
    ]
    for number, (tier, line) in enumerate(values.items()):
        points = " ".join(
            f"{30 + (width - 40) * step / max(1, len(line) - 1):.1f},{height - 30 - (height - 50) * value / top:.1f}"
            for step, value in enumerate(line)
        )
        parts.append(f'<polyline points="{points}" fill="none" stroke="{TIERS[tier]}" stroke-width="2"/>')
        parts.append(f'<text x="{40 + 130 * number}" y="{height - 8}" fill="{TIERS[tier]}">{tier}</text>')
    parts.append(f'<text x="0" y="20" font-size="12">{top:.2f}</text>')
    parts.append(f'<text x="10" y="{height - 28}" font-size="12">0</text></svg>')
    return "".join(parts)


if __name__ == "__main__":
    main()
