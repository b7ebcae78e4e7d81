"""What libraries say in words of their own: each sentence beside a near miss that means something else."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from orkhaven.core.failures import Evidence, classify
from orkhaven.core.failures.traces import fatal, is_wrapper

LIBRARY = "/opt/venv/lib/python3.12/site-packages"
STD = "/usr/local/lib/python3.12"


@dataclass(frozen=True)
class Pair:
    reason: str
    fits: str
    near: str
    """Speaks of the same, and is not that."""


def raised(statement: str, place: str = f"{LIBRARY}/lib/core.py", function: str = "run", own: str = "main") -> str:
    frames = (("/app/train.py", "<module>"), (f"/app/{own}.py", own), (place, function))
    calls = "".join(f'  File "{path}", line 3, in {name}\n    x\n' for path, name in frames)
    return f"Traceback (most recent call last):\n{calls}{statement}"


PAIRS = {
    # --- memory
    "a GPU's, of XLA": Pair(
        "CudaOutOfMemory",
        "ResourceExhaustedError: 2 root error(s) found.\n  (0) Resource exhausted: Out of memory while trying to "
        "allocate 68852 bytes.",
        "RuntimeError: quota exhausted: out of credits",
    ),
    "a GPU's, of a loader": Pair(
        "CudaOutOfMemory", "RuntimeError: CUDA allocation failed", "RuntimeError: CUDA graph capture failed"
    ),
    "a GPU's, of RMM": Pair(
        "CudaOutOfMemory", "MemoryError: std::bad_alloc: out_of_memory: CUDA error", "MemoryError: std::bad_alloc"
    ),
    "a GPU's, where NVML does not answer": Pair(
        "CudaOutOfMemory",
        'RuntimeError: NVML_SUCCESS == r INTERNAL ASSERT FAILED at "../c10/cuda/CUDACachingAllocator.cpp":995',
        'RuntimeError: r == 0 INTERNAL ASSERT FAILED at "../c10/cuda/CUDAStream.cpp":12',
    ),
    "a GPU's, in a sentence": Pair(
        "CudaOutOfMemory",
        "RuntimeError: Requested amount of GPU memory (118046 bytes) could not be allocated",
        "RuntimeError: the GPU memory pool was never made",
    ),
    "the node's, of TensorFlow": Pair(
        "OutOfMemoryKilled",
        "ResourceExhaustedError: OOM when allocating tensor with shape[9] on /job:localhost/device:CPU:0 by "
        "allocator cpu",
        "ResourceExhaustedError: OOM when allocating tensor with shape[9] on /job:localhost/device:GPU:0 by "
        "allocator GPU_0_bfc",
    ),
    "the node's, of an old torch": Pair(
        "OutOfMemoryKilled",
        "RuntimeError: [enforce fail at CPUAllocator.cpp:56] posix_memalign(&data, gAlignment, nbytes) == 0. 12 vs 0",
        "RuntimeError: [enforce fail at pool_op.h:12] kernel == 0",
    ),
    "the node's, of OpenCV": Pair(
        "OutOfMemoryKilled",
        "cv2.error: (-4:Insufficient memory) Failed to allocate 268435456 bytes in function 'OutOfMemoryError'",
        "cv2.error: (-5:Bad argument) in function 'resize'",
    ),
    "the node's, of Rust": Pair(
        "OutOfMemoryKilled", "memory allocation of 8192 bytes failed", "name allocation of 3 devices failed"
    ),
    "the node's, watched by Ray": Pair(
        "OutOfMemoryKilled",
        "ray.exceptions.OutOfMemoryError: Task was killed due to the node running low on memory.",
        "ray.exceptions.TaskCancelledError: Task was cancelled",
    ),
    "the node's, watched by an old Ray": Pair(
        "OutOfMemoryKilled",
        "ray.memory_monitor.RayOutOfMemoryError: More than 95% of the memory on node n1 is used",
        "RuntimeError: more than 95% of the steps were skipped",
    ),
    "a thread's, which is the linker's": Pair(
        "ImportError",
        "ImportError: /lib/libgomp.so.1: cannot allocate memory in static TLS block",
        "OSError: cannot allocate memory",
    ),
    "what RDMA cannot register": Pair(
        "Infrastructure",
        "NCCL WARN Call to ibv_reg_mr_iova2 failed with error Cannot allocate memory",
        "fork: Cannot allocate memory",
    ),
    # --- devices and shared memory
    "a driver that was replaced beneath its library": Pair(
        "GpuHardware",
        "nvidia-container-cli: initialization error: nvml error: driver/library version mismatch: unknown",
        "nvidia-container-cli: requirement error: unsatisfied condition: cuda>=12.4",
    ),
    "another CUDA than torch's": Pair(
        "GpuSetup",
        "RuntimeError: The detected CUDA version (12.1) mismatches the version that was used to compile\nPyTorch",
        "RuntimeError: the detected version of the plan is odd",
    ),
    "a segment by its path": Pair(
        "SharedMemory",
        "OSError: [Errno 28] No space left on device: '/dev/shm/psm_1'",
        "OSError: [Errno 28] No space left on device: '/scratch/shm/psm_1'",
    ),
    "a bus error of a rank": Pair(
        "SharedMemory",
        "exitcode  : -7 (pid: 138)\ntraceback : Signal 7 (SIGBUS) received by PID 138",
        "exitcode  : -11",
    ),
    # --- network and storage
    "an export's locks": Pair(
        "Infrastructure",
        "BlockingIOError: [Errno 11] Unable to synchronously open file (unable to lock file, errno = 11)",
        "OSError: Unable to synchronously open file (file signature not found)",
    ),
    "a lock that another process holds": Pair(
        "Infrastructure",
        "filelock._error.Timeout: The file lock '/cache/x.lock' could not be acquired.",
        "RuntimeError: the lock was released twice",
    ),
    "a client that Lustre has evicted": Pair(
        "Infrastructure",
        "OSError: [Errno 108] Cannot send after transport endpoint shutdown",
        "OSError: [Errno 106] is odd",
    ),
    "a file that an export still has open": Pair(
        "Infrastructure",
        "OSError: [Errno 16] Device or resource busy: '.nfs00000000000f46'",
        "OSError: [Errno 16] Device or resource busy: '/dev/video0'",
    ),
    "a hub that is not reached": Pair(
        "Infrastructure",
        "LocalEntryNotFoundError: the file is not in the cache. Please check your connection and try again",
        "OfflineModeIsEnabled: Cannot reach https://hub.example/x: offline mode is enabled.",
    ),
    "a server that hung up": Pair(
        "Infrastructure",
        "ConnectionClosedError: Connection was closed before we received a valid response",
        "ValueError: I/O operation on closed file.",
    ),
    "a tracker's time": Pair(
        "Infrastructure",
        "wandb.errors.CommError: Run initialization has timed out after 90.0 sec.",
        "subprocess.TimeoutExpired: Command 'make' timed out after 10 seconds",
    ),
    "gRPC": Pair(
        "Infrastructure",
        "grpc._channel._InactiveRpcError: terminated with:\n\tstatus = StatusCode.UNAVAILABLE",
        "grpc._channel._InactiveRpcError: terminated with:\n\tstatus = StatusCode.INVALID_ARGUMENT",
    ),
    "no room, in a sentence": Pair(
        "DiskFull", "OSError: Not enough disk space. Needed: 5 GiB", "RuntimeError: not enough space between the boxes"
    ),
    # --- modules
    "a module for another NumPy": Pair(
        "ImportError",
        "RuntimeError: module compiled against API version 0x10 but this version of numpy is 0xf",
        "RuntimeError: module compiled twice",
    ),
    "an operator that is not there": Pair(
        "ImportError",
        "RuntimeError: operator torchvision::nms does not exist",
        "RuntimeError: operator of the scanner does not exist",
    ),
    "no reader for NIfTI": Pair(
        "ImportError",
        "RuntimeError: LoadImage cannot find a suitable reader for file: /d/c.nii.gz.\nPlease install the reader "
        "libraries.\nThe current registered: [<monai.data.image_reader.PILReader object at 0x7f>].",
        "RuntimeError: LoadImage cannot find a suitable reader for file: /d/c.nii.gz.\nPlease install the reader "
        "libraries.\nThe current registered: [<monai.data.image_reader.NibabelReader object at 0x7f>].",
    ),
    "a package that is to be installed": Pair(
        "ImportError",
        "ValueError: this loss requires `torch_scatter` to be installed",
        "ValueError: this loss requires a mask",
    ),
    # --- data
    "a grid of another image": Pair(
        "DataError",
        "RuntimeError: Exception thrown in SimpleITK\nitk::ERROR: MaskImageFilter(0x1): Inputs do not occupy the same "
        "physical space!",
        "RuntimeError: inputs are not on the same device",
    ),
    "spacings": Pair(
        "DataError",
        "Error: Spacing mismatch between segmentation and corresponding images.",
        "RuntimeError: the spacing of the text is odd",
    ),
    "images and masks by number": Pair(
        "DataError",
        "ValueError: number of images (12) and masks (11) does not match",
        "ValueError: images of shape (3, 4) and masks of shape (3, 5) do not match",
    ),
    "what nnU-Net's check says at the end": Pair(
        "DataError",
        "RuntimeError: Some images have errors. Please check text output above",
        "RuntimeError: some settings have errors",
    ),
    "a header's type": Pair(
        "DataError",
        'nibabel.spatialimages.HeaderDataError: data dtype "int64" not recognized',
        "mylib.HeadError: dtype not recognized",
    ),
    "directions that are none": Pair(
        "DataError",
        "RuntimeError: ITK only supports orthonormal direction cosines.  No orthonormal definition found!",
        "RuntimeError: only supports orthonormal weights",
    ),
    "a tag that an image lacks": Pair(
        "DataError",
        "AttributeError: 'FileDataset' object has no attribute 'PixelSpacing'",
        "AttributeError: 'FileDataset' object has no attribute 'my_cache'",
    ),
    "a store without a group": Pair(
        "DataError",
        "zarr.errors.GroupNotFoundError: group not found at path ''",
        "mylib.UserError: group of users is odd",
    ),
    "records that are cut": Pair(
        "DataError",
        "tensorflow.python.framework.errors_impl.DataLossError: truncated record at 12",
        "tensorflow.python.framework.errors_impl.DataLossError: Unable to open table file /m.ckpt: not an sstable",
    ),
    "an archive that is cut": Pair(
        "DataError", "tarfile.ReadError: unexpected end of data", "mylib.StartError: unexpected state"
    ),
    "a header that is cut": Pair(
        "DataError",
        "struct.error: unpack_from requires a buffer of at least 4 bytes",
        "struct.error: required argument is not an integer",
    ),
    "no box within an image": Pair(
        "DataError",
        "ValueError: Expected x_max for bbox (0.1, 0.2, 1.4, 0.6) to be in the range [0.0, 1.0], got 1.4.",
        "ValueError: invalid box format 'xyxz'",
    ),
    "nothing that is valid": Pair(
        "DataError",
        "AssertionError: No valid data found in my_dataset_train.",
        "AssertionError: no valid plan was made",
    ),
    "nothing to learn from": Pair("DataError", "ValueError: Empty training data.", "ValueError: empty training plan"),
    "nothing was found": Pair(
        "DataError", "RuntimeError: Found 0 images below /d", "RuntimeError: found 0 more steps to do"
    ),
    "a sample without its parts": Pair(
        "DataError",
        "ValueError: didn't find ['y.txt'] in ['__key__', 'x.png']",
        "ValueError: 'y' not in list",
    ),
    "a folder of data": Pair(
        "DataError",
        "NotADirectoryError: [Errno 20] Not a directory: '/mnt/scans/3/labels/7'",
        "NotADirectoryError: [Errno 20] Not a directory: '/usr/bin/x/7'",
    ),
    "an object that is not in its bucket": Pair(
        "DataError",
        "botocore.exceptions.ClientError: An error occurred (404) when calling the HeadObject operation: Not Found",
        "botocore.exceptions.ClientError: An error occurred (403) when calling the HeadObject operation: Forbidden",
    ),
    # --- checkpoints
    "a key that a checkpoint lacks": Pair(
        "CheckpointError",
        "NotFoundError: Key conv/bias not found in checkpoint",
        "NotFoundError: key conv/bias is odd",
    ),
    "no stored activations": Pair(
        "CheckpointError",
        "orbax.CheckpointNotFoundError: step 12",
        "torch.utils.checkpoint.CheckpointError: torch.utils.checkpoint: A different number of tensors was saved "
        "during the original forward and recomputation.",
    ),
    "weights of another Keras model": Pair(
        "CheckpointError",
        "ValueError: You are trying to load a weight file containing 19 layers into a model with 20 layers.",
        "ValueError: the weight of layer 19 is read-only",
    ),
    # --- numbers and shapes
    "a distribution of NaN": Pair(
        "Diverged",
        "RuntimeError: probability tensor contains either inf, nan or element < 0",
        "RuntimeError: probability tensor is empty",
    ),
    "a cost of NaN": Pair(
        "Diverged",
        "ValueError: matrix contains invalid numeric entries",
        "numpy.linalg.LinAlgError: Singular matrix",
    ),
    "logits and labels": Pair(
        "ShapeMismatch",
        "InvalidArgumentError: logits and labels must have the same first dimension, got [400,10] and [420]",
        "ValueError: logits and labels must have the same owner",
    ),
    "einsum": Pair(
        "ShapeMismatch",
        "RuntimeError: einsum(): subscript b has size 3 for operand 1 which does not broadcast with previously seen 4",
        "RuntimeError: einsum(): invalid subscript given at index 3",
    ),
    "a loss of two shapes": Pair(
        "ShapeMismatch",
        "AssertionError: ground truth has different shape (torch.Size([2])) from input (torch.Size([1]))",
        "AssertionError: ground truth has different colours",
    ),
    "two that should be equal": Pair(
        "ShapeMismatch",
        "ValueError: Height and Width of image, mask or masks should be equal.",
        "ValueError: heights should be drawn",
    ),
    # --- parameters
    "a name that is not registered": Pair(
        "InvalidParams", "KeyError: 'UNett is not in the models registry'", "KeyError: 'is not in the bag'"
    ),
    "an option and its condition": Pair(
        "InvalidParams",
        "ValueError: --load_best_model_at_end requires the save and eval strategy to match, but found",
        "ValueError: -- requires nothing",
    ),
    "batch sizes that do not add up": Pair(
        "InvalidParams",
        "AssertionError: Check batch related parameters. train_batch_size is not equal to micro_batch * 8",
        "AssertionError: check the batch",
    ),
    "a crop that is too large": Pair(
        "InvalidParams",
        "ValueError: Requested crop size (256, 256) is larger than the image size (128, 128)",
        "ValueError: the crop was never made",
    ),
    "a metric that is watched": Pair(
        "InvalidParams",
        "MisconfigurationException: ModelCheckpoint(monitor='val_loss') could not find the monitored key",
        "RuntimeError: the monitor was never made",
    ),
    "a parameter and its range": Pair(
        "InvalidParams",
        "ValueError: dropout_rate should be between 0 and 1.",
        "ValueError: Input image should be between 0 and 1",
    ),
    "not the parameters of a run": Pair(
        "InvalidParams", "ValueError: unknown optimizer 'adma'", "ValueError: optimizer got an empty parameter list"
    ),
    # --- surroundings
    "a folder that cannot be made": Pair(
        "ConfigError", "Error creating log directory. Check permissions! Exiting...", "Error creating the log line"
    ),
    "who is not let in": Pair(
        "ConfigError",
        "OSError: You are trying to access a gated repo.\nMake sure to request access at https://hub.example/x",
        "OSError: odd access",
    ),
    "not logged in": Pair(
        "ConfigError", "wandb.errors.CommError: user is not logged in", "RuntimeError: value is not logged in time"
    ),
    "a bucket that is not there": Pair(
        "ConfigError",
        "botocore.exceptions.ClientError: An error occurred (NoSuchBucket) when calling the ListObjectsV2 operation",
        "botocore.exceptions.ClientError: An error occurred (SlowDown) when calling the ListObjectsV2 operation",
    ),
    "a certificate": Pair(
        "ConfigError",
        "requests.exceptions.SSLError: Max retries exceeded (Caused by SSLError('[SSL: CERTIFICATE_VERIFY_FAILED]'))",
        "requests.exceptions.ConnectionError: Max retries exceeded with url: /x",
    ),
    "a folder of configurations": Pair(
        "ConfigError",
        "IsADirectoryError: [Errno 21] Is a directory: 'configs'",
        "IsADirectoryError: [Errno 21] Is a directory: '/output/x'",
    ),
}


@pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS)
def test_a_sentence_and_its_near_miss(pair: Pair) -> None:
    for text, fits in ((pair.fits, True), (pair.near, False)):
        said = raised(text) if fatal(text) else text
        assert (classify(Evidence(exit_code=1, text=said)).reason == pair.reason) is fits, text


DECODE = "UnicodeDecodeError: 'utf-8' codec can't decode byte 0x92 in position 2: invalid start byte"
NO_SPACE = "OSError: [Errno 28] No space left on device"
NO_JSON = "json.decoder.JSONDecodeError: Expecting value: line 1 column 1 (char 0)"
NO_FOLDER = "IsADirectoryError: [Errno 21] Is a directory: '/x'"
PLACES = {
    "a semaphore": (NO_SPACE, f"{STD}/multiprocessing/synchronize.py", "__init__", "main", "SharedMemory"),
    "a copy": (NO_SPACE, f"{STD}/shutil.py", "copyfile", "main", "DiskFull"),
    "an archive": (DECODE, f"{LIBRARY}/wids/wids_mmtar.py", "_build_index", "main", "DataError"),
    "a text of the project's": (DECODE, f"{STD}/codecs.py", "decode", "load_labels", "DataError"),
    "a checkpoint of Python 2": (
        DECODE,
        f"{LIBRARY}/torch/serialization.py",
        "_legacy_load",
        "main",
        "CheckpointError",
    ),
    "a text that ends early": (
        DECODE.replace("invalid start byte", "unexpected end of data"),
        f"{STD}/codecs.py",
        "decode",
        "load_config",
        "ConfigError",
    ),
    "a table": (DECODE, f"{LIBRARY}/pandas/_libs/parsers.pyx", "_string_box_utf8", "main", "DataError"),
    "an ini": (DECODE, f"{STD}/configparser.py", "_read", "main", "ConfigError"),
    "a text of nobody knows what": (DECODE, f"{STD}/codecs.py", "decode", "main", "UserException"),
    "a configuration": (NO_FOLDER, f"{LIBRARY}/yacs/config.py", "merge_from_file", "main", "ConfigError"),
    "a file of nobody knows what": (NO_FOLDER, f"{LIBRARY}/lib/core.py", "run", "main", "UserException"),
    "JSON of data": (NO_JSON, f"{STD}/json/decoder.py", "raw_decode", "load_annotations", "DataError"),
    "JSON of the settings": (NO_JSON, f"{STD}/json/decoder.py", "raw_decode", "load_config", "ConfigError"),
    "a registry": ("KeyError: 'vgg99'", f"{LIBRARY}/smp/encoders/__init__.py", "get_encoder", "main", "InvalidParams"),
    "a batch": ("KeyError: 'mask'", f"{LIBRARY}/lib/loss.py", "forward", "main", "UserException"),
}


@pytest.mark.parametrize(("statement", "place", "function", "own", "reason"), PLACES.values(), ids=PLACES)
def test_who_was_reading_counts(statement: str, place: str, function: str, own: str, reason: str) -> None:
    text = raised(statement, place, function, own)
    assert classify(Evidence(exit_code=1, text=text)).reason == reason


def test_json_of_data_is_told_by_what_followed() -> None:
    direct = "\n\nThe above exception was the direct cause of the following exception:\n\n"
    chain = direct.join((raised(NO_JSON), raised("datasets.DatasetGenerationError: while generating the dataset")))
    assert classify(Evidence(exit_code=1, text=chain)).reason == "DataError"
    assert classify(Evidence(exit_code=1, text=raised(NO_JSON))).reason == "ConfigError"


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("optimizer.load_state_dict(checkpoint['optimizer'])", "CheckpointError"),
        ("self.epoch = ckpt['optimizer']", "CheckpointError"),
        ("name = batch['optimizer']", "UserException"),
        ("checkpoints.append(batch['optimizer'])", "UserException"),
    ],
)
def test_what_a_checkpoint_lacks_is_told_by_the_line_that_takes_it(code: str, reason: str) -> None:
    text = f'Traceback (most recent call last):\n  File "/app/train.py", line 3, in main\n    {code}\n    ^^^^\n'
    assert classify(Evidence(exit_code=1, text=f"{text}KeyError: 'optimizer'")).reason == reason


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("assert torch.cuda.is_available()", "GpuSetup"),
        ("assert not torch.isnan(loss).any()", "Diverged"),
        ("assert os.path.exists(args.resume)", "CheckpointError"),
        ("assert os.path.isfile(args.config_file)", "ConfigError"),
        ("assert Path(cfg.data_root).is_dir()", "DataError"),
        ("assert os.path.isdir(cfg.data_root)", "DataError"),
        ("assert os.path.isdir(out)", "UserException"),
        ("assert (boxes[:, 2] >= boxes[:, 0]).all()", "DataError"),
        ("assert image.shape == mask.shape", "ShapeMismatch"),
        ("assert self.ready", "UserException"),
        ("assert step < self.total", "UserException"),
    ],
)
def test_a_check_without_a_sentence_is_told_by_its_source(code: str, reason: str) -> None:
    text = f'Traceback (most recent call last):\n  File "/app/train.py", line 3, in main\n    {code}\nAssertionError'
    found = classify(Evidence(exit_code=1, text=text))
    assert found.reason == reason
    assert reason == "UserException" or code in found.message
    spoken = classify(Evidence(exit_code=1, text=f"{text}: that is odd"))
    assert spoken.reason == "UserException", "a sentence counts more than the source"


def test_a_path_that_is_none_is_a_variable_that_nobody_has_set() -> None:
    failed = raised("TypeError: expected str, bytes or os.PathLike object, not NoneType")
    told = f"nnUNet_raw is not defined and nnU-Net cannot be used like this.\n{failed}"
    assert "nnUNet_raw" in classify(Evidence(exit_code=1, text=told)).message
    assert classify(Evidence(exit_code=1, text=told)).reason == "ConfigError"
    assert classify(Evidence(exit_code=1, text=failed)).reason == "UserException"


def test_workers_that_are_no_longer_alive_are_not_what_happened() -> None:
    end = raised("RuntimeError: One or more background workers are no longer alive. Exiting.")
    (only,) = fatal(end)
    assert is_wrapper(only)
    worker = raised("ImageFileError: cannot work out the file type of /d/7.nii")
    assert classify(Evidence(exit_code=1, text=f"{worker}\n\n{end}")).reason == "DataError"


def test_cudas_own_error_comes_before_the_systems_last() -> None:
    text = "CUDA Error: uncorrectable ECC error encountered: Cannot allocate memory"
    assert classify(Evidence(exit_code=134, text=text)).reason == "GpuHardware"


def test_a_container_that_the_driver_does_not_let_start() -> None:
    refused = "nvidia-container-cli: initialization error: driver rpc error: timed out: unknown"
    started = {"terminated_reason": "StartError", "exit_code": 128}
    assert classify(Evidence(text=refused, **started)).reason == "GpuHardware"
    assert classify(Evidence(text="exec: no such file", **started)).reason == "ConfigError"
