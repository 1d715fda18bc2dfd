"""Compiled blocks whose compiler fails, in a forward pass, in a backward pass, or in the middle of a step."""

import pytest
import torch
from functorch.compile import make_boxed_func
from torch import nn
from torch._dynamo.backends.common import aot_autograd

from blissmask.errors import MachineError
from blissmask.training.data.micro_batch import collate
from blissmask.training.memory.block_compiler import BlockCompiler
from blissmask.training.step.run_step import run_step
from tests.builders.toy_step import CPU, ToyDenoiser, make_item, make_learner, rule

BATCHES = [collate([make_item(0)], 0), collate([make_item(1), make_item(2)], 1)]


class Block(nn.Module):
    """Mixes the channels, as the toy does, in a module that can be compiled."""

    def __init__(self, mix):
        super().__init__()
        self.mix = mix

    def forward(self, x_BFHWC):
        return self.mix(x_BFHWC).sin()


class Blocks(ToyDenoiser):
    block_class_names = ("Block",)

    def predict(self, batch):
        return self.module(batch.noisy_BCFHW.movedim(1, -1)).movedim(-1, 1)


@pytest.fixture(autouse=True)
def nothing_compiled_before():
    torch.compiler.reset()
    yield
    torch.compiler.reset()


def fail(graph, inputs):
    raise RuntimeError("no such header\nand much more")


def as_it_is(graph, inputs):
    return make_boxed_func(graph.forward)


def failing_second():
    """Return a backend that compiles one graph, and fails with the one of a batch of another size."""
    graphs = []

    def compile_one(graph, inputs):
        graphs.append(graph)
        return fail(graph, inputs) if len(graphs) > 1 else graph.forward

    return compile_one


def learner_with(backend, *, asked=False):
    """Return a learner, and what is said when its blocks are compiled no more."""
    learner, said = make_learner(), []
    denoiser = Blocks()
    denoiser.module = Block(learner.denoiser.module.mix)
    learner.denoiser = denoiser
    if backend is not None:
        learner.compiler = BlockCompiler(backend, asked=asked, warn=said.append)
        learner.compiler.compile(denoiser)
    return learner, said


def two_steps(learner):
    numbers = [run_step(learner, BATCHES, rule(), step=step, device=CPU) for step in range(2)]
    return [float(each["loss"]) for each in numbers], [each for _, each in learner.lora.named_parameters()]


@pytest.mark.parametrize(
    "backend",
    [fail, aot_autograd(fw_compiler=as_it_is, bw_compiler=fail), failing_second()],
    ids=["forward", "backward", "second-micro-batch"],
)
def test_a_compiler_that_fails_unasked_costs_one_warning_and_no_bit(backend):
    expected_losses, expected = two_steps(learner_with(None)[0])
    learner, said = learner_with(backend)
    losses, weights = two_steps(learner)
    assert losses == expected_losses
    assert all(torch.equal(*pair) for pair in zip(weights, expected, strict=True))
    assert [problem.where for problem in said] == [("RuntimeError: no such header",)]
    assert not learner.compiler.is_on


def test_a_compiler_that_was_asked_for_ends_the_run_and_says_how_to_go_without():
    learner, said = learner_with(fail, asked=True)
    with pytest.raises(MachineError) as caught:
        two_steps(learner)
    assert caught.value.as_one().where == ("RuntimeError: no such header",)
    assert "--compile" in caught.value.as_one().fix
    assert not said


@pytest.mark.parametrize("asked", [True, False])
def test_an_error_that_is_not_the_compilers_is_raised_as_it_is(asked: bool):
    learner, said = learner_with("eager", asked=asked)
    learner.denoiser.module.mix = None
    with pytest.raises(TypeError):
        two_steps(learner)
    assert not said
