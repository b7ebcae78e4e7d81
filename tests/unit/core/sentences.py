"""What libraries say in words of their own: each sentence beside a near miss that means something else."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Pair:
    reason: str
    fits: str
    near: str
    """Speaks of the same, and is not that."""


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
