"""Training with each group of options that is the same for all families."""

from __future__ import annotations

import json

from tests.sameness.families import MASK_LOSS, STEPS, cache_photos, model
from tests.sameness.inputs import lay_out, write
from tests.sameness.scene import Scene
from tests.sameness.tasks import Task

TRAINING_OPTIONS = {
    "plain": "",
    "masks-only": "--use-mask-loss",
    "preset-person": "--mask-preset person",
    "preset-face": "--mask-preset face",
    "preset-style": "--mask-preset style",
    "preset-person-prior": "--mask-preset person-prior",
    "preset-face-prior": "--mask-preset face-prior",
    "mean-sample": f"{MASK_LOSS} --mask-mean sample --batch-size 2",
    "mean-global": f"{MASK_LOSS} --mask-mean global --gradient-accumulation-steps 2",
    "pixel": f"{MASK_LOSS} --mask-transform pixel",
    "tiers": "--use-mask-loss --face-weight 0.9 --body-weight 0.4 --hair-weight 0.5 --background-weight 0.1",
    "feather": "--use-mask-loss --mask-feather 0.7 --mask-area-beta 0.5",
    "unmasked": "--use-mask-loss --unmasked-probability 0.5",
    "prior": "--use-mask-loss --prior-preservation-weight 1 --prior-mask-threshold 0.4",
    "prior-decay": f"{MASK_LOSS} --prior-min-timestep 300 --prior-decay cosine",
    "huber": "--loss-type huber --huber-delta 0.5",
    "validation": "--use-mask-loss --validation-split 0.3 --validate-every-n-steps 2",
    "epochs": "--max-train-epochs 2 --num-repeats 2 --save-every-n-epochs 1",
    "checkpointing": "--gradient-checkpointing --blocks-to-swap 1",
    "int8": "--int8-base",
    "fp8": "--fp8-base",
    "nf4": "--nf4-base",
    "bfloat16": "--dit-dtype bfloat16 --save-precision bfloat16",
    "half-file": "--save-precision float16 --no-metadata",
    "memory-auto": "--memory auto",
    "dropout": "--network-dropout 0.3",
    "norms": "--scale-weight-norms 0.01 --use-rslora --network-alpha 1",
    "dora": "--use-dora --lora-format diffusers",
    "patterns": "--include-patterns .*ffn.* --exclude-patterns .*attn2.*",
    "lokr-factor": "--network-type lokr --lokr-factor 4",
    "start": "--network-weights out/plain.safetensors",
    "sgd": "--optimizer-type torch.optim.SGD --optimizer-args momentum=0.9 nesterov=True",
    "adafactor": "--optimizer-type adafactor",
    "prodigy": "--optimizer-type prodigy",
    "schedulefree": "--optimizer-type schedulefree --save-every-n-steps 2",
    "loraplus": "--loraplus-lr-ratio 4 --weight-decay 0.1 --max-grad-norm 0.01",
    "cosine": "--lr-scheduler cosine --lr-warmup-steps 1",
    "restarts": "--lr-scheduler cosine_with_restarts --lr-scheduler-num-cycles 2",
    "min-lr": "--lr-scheduler cosine_with_min_lr --lr-scheduler-min-lr-ratio 0.1",
    "polynomial": "--lr-scheduler polynomial --lr-scheduler-power 2",
    "decay": "--lr-scheduler warmup_stable_decay --lr-warmup-steps 25% --lr-decay-steps 0.5",
    "uniform": "--timestep-sampling uniform --min-timestep 200 --max-timestep 800",
    "sigmoid": "--timestep-sampling sigmoid --sigmoid-scale 1.5",
    "shift": "--timestep-sampling shift --discrete-flow-shift 5 --preserve-distribution-shape --min-timestep 500",
    "flux-shift": "--timestep-sampling flux_shift",
    "qwen-shift": "--timestep-sampling qwen_shift --num-timestep-buckets 4",
    "logsnr": "--timestep-sampling logsnr --logit-mean 0.5 --logit-std 1.5",
    "sigma-sqrt": "--weighting-scheme sigma_sqrt",
    "cosmap": "--weighting-scheme cosmap",
    "seed": "--seed 7",
    "tensorboard": "--use-mask-loss --log-with tensorboard --logging-dir board",
    "metadata": "--training-comment hello --metadata-title T --metadata-author A --metadata-tags x,y",
    "more-metadata": "--metadata-description D --metadata-license L",
    "compile": "--compile --compile-backend eager",
    "unknown-optimizer": "--optimizer-type nothing.Such",
    "wrong-shapes": "--network-dim 3 --network-weights out/plain.safetensors",
}


def training_options_scene(scene: Scene, task: Task) -> None:
    """Train once with each group of options that is the same for all families."""
    lay_out(task)
    scene.settle()
    scene.run("cache", cache_photos(task))
    train = f"train {model(task)} --cache-directory cache --output-dir out {STEPS}"
    for name, options in TRAINING_OPTIONS.items():
        scene.run(name, f"{train} --output-name {name} --save-every-n-steps 3 {options}")
    longer = f"{train} --output-name longer --seed 3"
    scene.run("resume/half", f"{longer} --save-every-n-steps 2 --max-train-steps 2")
    scene.run("resume/rest", f"{longer} --save-every-n-steps 2 --max-train-steps 5")
    scene.run("resume/anew", f"{longer} --no-resume --max-train-steps 1")
    subset = '[[prompt.subset]]\nprompt = "kyla"\nseed = 3\n[[prompt.subset]]\nprompt = "trees"\ncfg_scale = 1.0\n'
    write("prompts.toml", f"[prompt]\nwidth = 64\nheight = 32\nsample_steps = 2\n{subset}")
    write(
        "prompts.json",
        json.dumps([{"prompt": "kyla", "frame_count": 5, "sample_steps": 1}, "trees --w 64 --h 64 --s 1"]),
    )
    scene.settle()
    for kind in ("toml", "json"):
        previews = f"--sample-prompts prompts.{kind} --sample-every-n-epochs 1 --sample-at-first --network-dropout 0.5"
        scene.run(f"previews-{kind}", f"{train} --output-name previews-{kind} {previews}")
    for other in ("onetrainer", "sd-scripts", "ai-toolkit"):
        scene.run(f"like/{other}", f"train --like {other}")
        scene.run(f"like/{other}-json", f"train --like {other} --json")
