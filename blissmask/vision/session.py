"""Run the networks that ship with the package: one session per network and process, opened when first needed.

The weights of a network are compared with their recorded hash once, when it is opened.
"""

from __future__ import annotations

import functools
import hashlib
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from blissmask.errors import MissingPackageError, ModelError
from blissmask.give_back import is_large
from blissmask.storage.content import file_sha256

if TYPE_CHECKING:
    import onnxruntime

WEIGHTS_FOLDER = Path(__file__).parent / "weights"

WEIGHTS_SHA256 = {
    "dlib_face": "24cf1b601838779db7612af15829de6d2f16bc35a928008e40235bb02c28d2bf",
    "face_detection_full_range_sparse": "193c2a14a4dc55681ed933040bffbd2956981205193852d5fd5a72d60f740326",
    "face_detection_short_range": "85c0720b4cf4a5ff01ed84ec97a67a5a7aab70432a3d12c93046dd16becb9c37",
    "face_landmark": "f34f467ce355818205d938fb76c59efe2963bbc7f5dfca2387fbbeb3e1b62cdb",
    "pose_detection": "4571e8361d914d270159be9570d9a27f6f07f773935dc7d12ce2784656341389",
    "pose_landmark_full": "ce989a2b2c5822fb1abd34a7abfe6e19ea93a8719281f628f767acf12fc5e24f",
    "selfie_multiclass_256x256": "05bdfcba5d94f10f568f64120ab55bf6cf9c915b888e92b2b827874a0799b97a",
}
"""sha256 of every weights file, by the file's stem; ``weights/NOTICE.md`` says where each comes from."""

_SMALLEST = "face_detection_short_range"
"""The network of the fewest operations: 1.5 ms on one core."""

_loading = threading.Lock()
_sharing = threading.Lock()


def run(name: str, input_array: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """Run network ``name`` on one input and return all its outputs; safe to call from several threads.

    Raises:
        MissingPackageError: onnxruntime is not installed.
        ModelError: the weights file is missing or damaged.
    """
    # Two threads that need the same network first would otherwise both load it.
    with _loading:
        session = _session(name)
    outputs: list[NDArray[np.float32]] = session.run(None, {session.get_inputs()[0].name: input_array})
    return outputs


def give_back_store(pixels: int) -> None:
    """Give the memory that no network uses at the moment back to the system, after networks saw a large photo.

    The store keeps all that networks ever used at the same time: 110 MB, and 75 MB more for a second photo at once. The
    next photo asks for it again, which takes 40 ms: worth it only where the photo's own pixels need more.

    Args:
        pixels: of the photo; nothing is given back after a small one, see :func:`give_back.is_large`.

    Raises:
        MissingPackageError, ModelError: as :func:`run`.
    """
    if not is_large(pixels):
        return
    runtime = _runtime()
    with _sharing:
        shared = _share_memory(runtime)
    if not shared:
        return
    with _loading:
        session = _session(_SMALLEST)
    # onnxruntime does it at the end of a run alone (source: onnxruntime_run_options_config_keys.h).
    options = runtime.RunOptions()
    options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
    taken = session.get_inputs()[0]
    session.run(None, {taken.name: np.zeros(taken.shape, np.float32)}, options)


def load_session(path: Path, *, threads: int = 1) -> onnxruntime.InferenceSession:
    """Open an ONNX file on the CPU.

    One thread is the default because several photos are processed at once. On 2 cores, six of the seven networks gained
    less than 20 % from a second thread, while two photos at once nearly doubled the throughput.

    Args:
        path: the ``.onnx`` file.
        threads: threads of one run; 0 for as many as there are cores.

    Raises:
        MissingPackageError: onnxruntime is not installed.
    """
    runtime = _runtime()
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Idle threads that spin take the cores from the other sessions of the process, which were 2 to 3 times slower then.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # 3 is errors only: the warnings are about details of the graphs, on which no user can act.
    options.log_severity_level = 3
    # Callers of this function have locks of their own, and the store may be registered once.
    with _sharing:
        shared = _share_memory(runtime)
    if shared:
        options.add_session_config_entry("session.use_env_allocators", "1")
    return runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def weights_identity(*names: str) -> str:
    """Return one short text that changes when any of the named weights files changes, for fingerprints."""
    joined = "".join(WEIGHTS_SHA256[name] for name in names)
    return hashlib.sha256(joined.encode()).hexdigest()[:16]


def check_weights(path: Path, sha256: str) -> None:
    """Compare a weights file with its recorded sha256.

    Raises:
        ModelError: the file is missing or its bytes differ.
    """
    reinstall = "reinstall blissmask: `pip install --force-reinstall --no-deps blissmask`"
    if not path.is_file():
        raise ModelError(f"the network `{path.stem}` is missing from the installation", where=[path], fix=reinstall)
    if file_sha256(path) != sha256:
        raise ModelError(
            f"the network `{path.stem}` is damaged: its sha256 differs from the recorded one",
            where=[path],
            fix=reinstall,
        )


@functools.cache
def _session(name: str) -> onnxruntime.InferenceSession:
    path = WEIGHTS_FOLDER / f"{name}.onnx"
    check_weights(path, WEIGHTS_SHA256[name])
    return load_session(path)


@functools.cache
def _share_memory(runtime: Any) -> bool:
    """Give all sessions of the process one store of memory, which grows by as much as is asked for.

    By default each session has a store of its own, which doubles when it grows, and none of them gives anything back:
    seven networks kept 120 MB for each photo that was processed at the same time, half of it unused.

    Returns:
        Whether there is such a store; not where another part of the process has registered one with onnxruntime before.
    """
    cpu = runtime.OrtMemoryInfo("Cpu", runtime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, runtime.OrtMemType.DEFAULT)
    # 1 is kSameAsRequested; 0 and -1 are the defaults (source: onnxruntime_c_api.h, CreateArenaCfgV2).
    growth = {"max_mem": 0, "arena_extend_strategy": 1, "initial_chunk_size_bytes": -1, "max_dead_bytes_per_chunk": -1}
    try:
        runtime.create_and_register_allocator(cpu, runtime.OrtArenaCfg(growth))
    except RuntimeError:
        return False
    return True


def _runtime() -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingPackageError(
            "the embedded networks need onnxruntime", fix="install it: `pip install onnxruntime`"
        ) from error
    # Official Windows builds send usage data by default, and blissmask sends nothing about people's photos to anybody.
    onnxruntime.disable_telemetry_events()
    return onnxruntime
