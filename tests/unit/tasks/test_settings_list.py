"""The settings on the page of a training."""

import re

from blissmask.tasks.train.saving.page.settings_list import settings
from blissmask.tasks.train.settings import lasting_options
from tests.builders.training import train_config


def test_what_is_not_the_default_stands_out_and_everything_is_shown_once(tmp_path):
    config = train_config(tmp_path, tmp_path, network_dim=7, mask_gamma=0.7)
    remembered = {**lasting_options(config), "arch": config.model.arch, "experts": ["high", "low"], "processes": 2}
    text = "\n".join(settings(config, remembered))
    assert re.search(r"<h3>lora</h3>.*<div class=set><dt>network_dim</dt><dd>7</dd>", text, re.DOTALL)
    assert "<div class=set><dt>mask_gamma</dt><dd>0.7</dd>" in text
    assert "<div><dt>use_dora</dt><dd>false</dd>" in text
    assert "<div class=set><dt>model</dt><dd>tiny</dd>" in text
    assert re.search(r"<h3>the run</h3>.*<dt>experts</dt><dd>high, low</dd>", text, re.DOTALL)
    names = re.findall(r"<dt>(\w+)</dt>", text)
    assert len(names) == len(set(names))
    told = {name for name, value in remembered.items() if value not in (None, [])}
    assert told <= set(names)
