"""`cache`: encode photos, masks and captions once, for training."""

from __future__ import annotations

from pathlib import Path

from blissmask.cachefile.redo import Redo
from blissmask.processes import ALONE, Processes, connected, this_process
from blissmask.tasks.cache.cache_sheet import write_cache_sheet
from blissmask.tasks.cache.plan import COMMAND, CachePlan
from blissmask.tasks.cache.report import CacheRun, caption_table, text_counts
from blissmask.tasks.run.plan import Action, RunContext, Summary, planned_failures
from blissmask.tasks.run.wording import bytes_text


def run(plan: CachePlan, context: RunContext) -> Summary:
    """Do the plan.

    Raises:
        ModelError: an encoder cannot be loaded.
        MachineError, StoppedError: finished entries are kept; running again continues.
    """
    mine = CacheRun(fail_fast=context.fail_fast)
    # The plan of a process of a job array holds its own items.
    processes = ALONE if this_process().apart else this_process()
    with connected(processes):
        # The first process holds the folders' locks and sweeps; nobody writes before that, nor before all have made the
        # same plan.
        processes.wait()
        _encode_share(plan, processes, context, mine)
        counts = processes.gather(mine.counts)
    whole = CacheRun()
    for part in counts:
        whole.merge(part)
    # Only now: a pass that was stopped or broke off removes nothing.
    if this_process().first:
        for path in plan.outdated:
            path.unlink(missing_ok=True)
    return _summarise(plan, whole)


def _encode_share(plan: CachePlan, processes: Processes, context: RunContext, run: CacheRun) -> None:
    """Do this process's share of the plan, and note in ``run`` what comes of it."""
    if plan.sheet is not None and processes.first:
        write_cache_sheet(plan.sheet, plan.entries, plan.remarks, context)
    for entry in processes.share([entry for entry in plan.entries if entry.redo is Redo.NOTHING]):
        run.kept(entry)
    stale = processes.share(
        [entry for entry in plan.entries if entry.redo is not Redo.NOTHING],
        together=lambda entry: entry.item.media.path,
    )
    texts = [text for text in (*plan.texts, *plan.other_texts) if text.reason]
    # Imported where there is work: PyTorch takes longer to load than thousands of fresh items to plan.
    if stale:
        from blissmask.tasks.cache.encode_latents import encode_latents, refresh_masks

        refresh_masks([entry for entry in stale if entry.redo is not Redo.LATENTS], context, run)
        encode_latents([entry for entry in stale if entry.redo is Redo.LATENTS], plan.model, context, run)
    if texts:
        from blissmask.tasks.cache.encode_captions import encode_texts

        encode_texts(texts, plan.model, context, run, processes=processes)


def _summarise(plan: CachePlan, outcome: CacheRun) -> Summary:
    failures = [*planned_failures(plan), *outcome.failures]
    failed = {failure.key.removesuffix(" caption") for failure in failures}
    written = [item for item in plan.having(Action.WRITE) if item.key.removesuffix(" caption") not in failed]
    room = sum(_file_size(entry.path) for entry in plan.entries)
    return Summary(
        COMMAND,
        items=len(plan.items),
        written=len(written),
        skipped=len(plan.having(Action.SKIP)),
        failures=failures,
        tables=[*outcome.tally.table(), *caption_table(plan.texts, plan.other_texts)],
        warnings=[*plan.warnings, *outcome.warnings],
        details={
            **outcome.tally.details(),
            "texts": text_counts(plan.texts, plan.other_texts),
            "removed": [path.name for path in plan.outdated],
        },
        destination=f"{', '.join(map(str, plan.folders))} ({bytes_text(room)})",
    )


def _file_size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
