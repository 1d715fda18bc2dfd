"""`train --convert-lora` in this process, and the tensors of its files."""

import torch

from blissmask.config.model import Config
from blissmask.tasks.convert_lora import convert_lora
from blissmask.tasks.run.plan import RunContext
from tests.builders.training import tensors_of


def plan_conversion(path, file_format, output, *, arch=None, dit=None, force=False, combine=None, **saving):
    config = Config.model_validate(
        {
            "model": {"arch": arch, "dit": dit},
            "saving": {
                "convert_lora": path,
                "lora_format": file_format,
                "output_dir": output.parent,
                "output_name": output.stem,
                **saving,
            },
            "combine": combine or {},
            "run": {"force": force},
        }
    )
    return convert_lora.plan(config)


def convert(path, file_format, output, **options):
    plan = plan_conversion(path, file_format, output, **options)
    return plan, convert_lora.run(plan, RunContext())


def there_and_back(source, other, back, tmp_path, arch):
    convert(source, other, tmp_path / "there.safetensors", arch=arch)
    convert(tmp_path / "there.safetensors", back, tmp_path / "back.safetensors", arch=arch)
    return tensors_of(tmp_path / "back.safetensors")


def assert_same(tensors, others):
    assert tensors.keys() == others.keys()
    assert all(torch.equal(value, others[key]) and value.dtype == others[key].dtype for key, value in tensors.items())
