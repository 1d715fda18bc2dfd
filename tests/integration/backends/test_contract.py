"""What every backend promises, checked on every registered one with a miniature model of its real class.

A backend that is added without a miniature model here fails `test_every_backend_has_a_miniature_model`.
"""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from blissmask.config.sections.mask_sections import InstanceSection, MasksSection
from blissmask.masks.tiers import WeightTier
from blissmask.parsing.parts_backend import PARSING
from blissmask.people.people_backend import PEOPLE
from tests.builders import backend_models as models
from tests.builders.pictures import random_rgb

SIZES_WH = [(45, 33), (31, 64), (7, 90), (1, 1)]
PARSING_MODELS = {
    "embedded": [None],
    "sapiens": [models.sapiens_file],
    "sapiens2": [models.sapiens2_folder],
    "huggingface": [models.segformer_folder, models.mask2former_folder, models.eomt_folder],
    "sam3": [models.sam3_folder],
}
PEOPLE_MODELS = {
    "embedded": [None],
    "sam3": [models.sam3_folder],
    "rfdetr": [models.rfdetr_folder],
    "yolo": [models.yolo_export],
}
pytestmark = pytest.mark.usefixtures("one_thread")


def cases(table):
    return [
        pytest.param(name, make, id=f"{name}-{make.__name__}" if make else name)
        for name, makes in table.items()
        for make in makes
    ]


@pytest.fixture(scope="module")
def one_thread():
    """Keep torch on one core: with a second core that other tests use, miniature models take ten times longer."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Return a function that writes a miniature model once and returns its path as text."""
    paths = {}

    def path_of(make):
        if make is not None and make not in paths:
            paths[make] = str(make(tmp_path_factory.mktemp(make.__name__)))
        return paths.get(make)

    return path_of


def parts(name, path, **options):
    return PARSING.load(name).backend(MasksSection(model=path, **{"device": "cpu", **options}))


def people(name, path, **options):
    return PEOPLE.load(name).backend(InstanceSection(model=path, **{"device": "cpu", **options}))


def same_people(first, second):
    assert [person.box_xyxy for person in first] == [person.box_xyxy for person in second]
    return all((one.mask_HW == other.mask_HW).all() for one, other in zip(first, second, strict=True))


def test_every_backend_has_a_miniature_model():
    for registry, table in ((PARSING, PARSING_MODELS), (PEOPLE, PEOPLE_MODELS)):
        own = {name for name in registry.names() if not registry.describe(name).startswith("from ")}
        assert own == set(table)


@pytest.mark.parametrize(("name", "make"), cases(PARSING_MODELS))
def test_every_class_has_a_tier_and_a_licence_is_stated(name, make, made):
    backend = parts(name, made(make))
    assert set(backend.classes) == set(backend.tiers)
    assert len(set(backend.classes)) == len(backend.classes)
    assert WeightTier.FACE in backend.tiers.values()
    assert WeightTier.BACKGROUND in backend.tiers.values()
    assert backend.licence.name
    assert backend.identity.startswith(name)


@pytest.mark.parametrize(("name", "make"), cases(PARSING_MODELS))
def test_labels_have_the_size_of_the_photo_and_come_out_the_same_each_time(name, make, made):
    backend, again = parts(name, made(make)), parts(name, made(make))
    for seed, size_wh in enumerate(SIZES_WH):
        rgb = random_rgb(size_wh, seed=seed)
        labels = backend.parse([rgb])[0].labels_HW
        assert labels.shape == rgb.shape[:2]
        assert labels.dtype == np.uint8
        assert labels.max() < len(backend.classes)
        assert (labels == again.parse([rgb])[0].labels_HW).all()


@pytest.mark.parametrize(("name", "make"), cases(PARSING_MODELS))
def test_photos_of_a_batch_are_parsed_as_if_alone(name, make, made):
    grey = np.repeat(random_rgb((40, 40), seed=9)[..., :1], 3, axis=2)
    photos = [random_rgb((45, 33)), grey, random_rgb((45, 33), seed=1)]
    alone = [parts(name, made(make)).parse([rgb])[0].labels_HW for rgb in photos]
    together = parts(name, made(make), batch_size=3).parse(photos)
    for one, other in zip(alone, together, strict=True):
        # Sums are rounded differently in a batch; only a pixel where two classes tie may change.
        assert (one != other.labels_HW).mean() < 0.002


@pytest.mark.parametrize(("name", "make"), cases(PEOPLE_MODELS))
def test_people_do_not_overlap_and_come_largest_first(name, make, made):
    backend, again = people(name, made(make)), people(name, made(make))
    assert backend.licence.name
    assert backend.identity.startswith(name)
    for seed, size_wh in enumerate(SIZES_WH):
        rgb = random_rgb(size_wh, seed=seed)
        found = backend.people(rgb)
        assert same_people(found, again.people(rgb))
        areas = [int(person.mask_HW.sum()) for person in found]
        assert areas == sorted(areas, reverse=True)
        assert all(areas)
        for person in found:
            assert person.mask_HW.shape == rgb.shape[:2]
            assert person.mask_HW.dtype == bool
            left, top, right, bottom = person.box_xyxy
            assert 0 <= left < right <= size_wh[0]
            assert 0 <= top < bottom <= size_wh[1]
            assert 0 < person.score <= 1
        if found:
            assert np.sum([person.mask_HW for person in found], axis=0).max() == 1


@pytest.mark.parametrize(("name", "make"), [case for case in cases(PEOPLE_MODELS) if case.values[0] != "embedded"])
def test_every_network_finds_somebody_in_noise(name, make, made):
    """Otherwise the tests above would prove nothing."""
    assert people(name, made(make)).people(random_rgb((45, 33)))


@pytest.mark.parametrize(("name", "make"), cases(PARSING_MODELS))
def test_photos_from_several_threads_are_parsed_as_if_alone(name, make, made):
    photos = [random_rgb((45, 33), seed=seed) for seed in range(4)]
    alone = [parts(name, made(make)).parse([rgb])[0].labels_HW for rgb in photos]
    backend = parts(name, made(make), batch_size=4)
    with ThreadPoolExecutor(4) as threads:
        together = list(threads.map(lambda rgb: backend.parse([rgb])[0].labels_HW, photos))
    assert all((one != other).mean() < 0.002 for one, other in zip(alone, together, strict=True))


@pytest.mark.parametrize(("name", "make"), cases(PEOPLE_MODELS))
def test_people_of_photos_from_several_threads_are_found_as_if_alone(name, make, made):
    photos = [random_rgb((45, 33), seed=seed) for seed in range(4)]
    alone = [people(name, made(make)).people(rgb) for rgb in photos]
    backend = people(name, made(make), batch_size=4)
    with ThreadPoolExecutor(4) as threads:
        together = list(threads.map(backend.people, photos))
    for one, other in zip(alone, together, strict=True):
        assert [person.score for person in one] == pytest.approx([person.score for person in other], abs=1e-5)
        assert all((first.mask_HW != second.mask_HW).mean() < 0.002 for first, second in zip(one, other, strict=True))


@pytest.mark.parametrize(("name", "make"), [case for case in cases(PARSING_MODELS) if case.values[0] != "embedded"])
def test_cuda_agrees_with_the_cpu(name, make, made):
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    rgb = random_rgb((45, 33))
    on_cpu, on_cuda = (
        parts(name, made(make), device=device, precision="float32").parse([rgb])[0].labels_HW
        for device in ("cpu", "cuda")
    )
    assert (on_cpu != on_cuda).mean() < 0.01


@pytest.mark.parametrize(
    ("name", "make"), [case for case in cases(PEOPLE_MODELS) if case.values[0] in ("sam3", "rfdetr")]
)
def test_people_on_cuda_agree_with_the_cpu(name, make, made):
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    rgb = random_rgb((45, 33))
    on_cpu, on_cuda = (
        people(name, made(make), device=device, precision="float32").people(rgb) for device in ("cpu", "cuda")
    )
    for one, other in zip(on_cpu, on_cuda, strict=True):
        assert (one.mask_HW != other.mask_HW).mean() < 0.01
