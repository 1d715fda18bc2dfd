"""Runs of `apply` over two folders of masks, for its tests."""

from __future__ import annotations

from pathlib import Path

from blissmask.config.model import Config
from blissmask.tasks.apply.plan import ApplyPlan, plan
from blissmask.tasks.apply.run import run
from blissmask.tasks.run.plan import Action, RunContext, Summary


def config(folder: Path, *, force: bool = False, **options: object) -> Config:
    folders = {"weighted_masks": folder / "weighted", "instance_masks": folder / "instance", "output": folder / "out"}
    return Config.model_validate({"apply": {**folders, **options}, "run": {"force": force}})


def apply(folder: Path, *, force: bool = False, **options: object) -> Summary:
    return run(plan(config(folder, force=force, **options)), RunContext())


def reasons(made: ApplyPlan) -> dict[str, tuple[Action, str]]:
    return {item.key: (item.action, item.reason) for item in made.items}
