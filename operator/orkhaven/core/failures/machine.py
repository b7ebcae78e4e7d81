"""Words of what the machine did to a run: memory, devices, disks, network."""

from __future__ import annotations

from orkhaven.api import Reason
from orkhaven.core.failures.cause import Diagnosis
from orkhaven.core.failures.evidence import Evidence
from orkhaven.core.failures.needles import words
from orkhaven.core.failures.words import Rule, said
from orkhaven.core.job import OUTPUT_MOUNT

_CUDA_MEMORY = words(
    r"CUDA out of memory|(?:HIP|MPS backend) out of memory|torch(\.cuda)?\.OutOfMemoryError"
    r"|CUDA(?: runtime)? error:? out of memory"
    r"|CUBLAS_STATUS_ALLOC_FAILED|CUDNN_STATUS_ALLOC_FAILED|cudaErrorMemoryAllocation|cuda runtime error \(2\)"
    # What they say where there is too little for their own handle or workspace.
    r"|CUBLAS_STATUS_NOT_INITIALIZED|CUDNN_STATUS_INTERNAL_ERROR|Unable to find a valid cuDNN algorithm"
    r"|OOM when allocating tensor(?![^\n]*(?:device:CPU:|allocator (?:mkl)?cpu\b))"
    r"|Resource[_ ]exhausted: Out of memory|Cuda failure 'out of memory'"
    r"|cudaMalloc(?:Async)? failed: out of memory|CUDA_ERROR_OUT_OF_MEMORY"
    r"|Out of memory (?:while trying to allocate|allocating) \d+ bytes|CUDA (?:memory )?allocation failed"
    r"|bad_alloc: out_of_memory"
    # The allocator of torch asks NVML what to say of memory that is full, and is not answered.
    r"|NVML_SUCCESS == r INTERNAL ASSERT FAILED"
    r"|ResourceExhaustedError[^\n]*failed to allocate memory"
    r"|failed to allocate memory on (?:the )?GPU|cupy\.cuda\.memory\.OutOfMemoryError"
)


def cuda_memory(e: Evidence, text: str) -> Diagnosis | None:
    """The GPU's memory, in the words of torch, cuBLAS, cuDNN, NCCL, TensorFlow and JAX."""
    return said(e, text, Reason.CUDA_OUT_OF_MEMORY, _CUDA_MEMORY)


_HOST_MEMORY = words(
    r"DataLoader worker .*killed by signal: Killed|^(?:numpy\.\S*)?_?(?:Array)?MemoryError\b|std::bad_alloc"
    r"|DefaultCPUAllocator: (?:can't|not enough|cannot) |\[Errno 12\]"
    r"|(?:can ?not|can't|could not|failed to|unable to) allocate (?:enough )?memory\b(?! in static TLS)"
    r"|Unable to allocate (?:[\d.]+ [KMGT]iB|array with shape)"
    # Allocators of torch, ONNX Runtime, TensorFlow, Arrow, OpenCV, BLAS and Rust.
    r"|enforce fail at (?:CPUAllocator|alloc_cpu)\.cpp|posix_memalign\b|aligned_alloc\b|std::bad_array_new_length"
    r"|OOM when allocating tensor[^\n]*(?:device:CPU:|allocator (?:mkl)?cpu\b)|ArrowMemoryError|Insufficient memory"
    r"|Memory allocation still failed|memory allocation of \d+ bytes failed"
    # What watches over a node's memory before the kernel has to: Ray, Dask.
    r"|node running low on memory|(?:exceeds|above) the memory usage threshold|ray\.exceptions\.OutOfMemoryError"
    r"|exceeded \d+% memory budget|RayOutOfMemoryError|More than \d+% of the memory on node"
    r"|oom-kill(?:er)? event|Out of memory: Kill(?:ed)? process|Memory cgroup out of memory"
    r"|(?:exitcode|Signal) ?:? ?-?9\b[^\n]*SIGKILL|SIGKILL\(-9\)|exitcode\s*: -9\b|died with <Signals\.SIGKILL"
)


def host_memory(e: Evidence, text: str) -> Diagnosis | None:
    """The node's memory: an allocation that was refused, or a child that the kernel's OOM killer took."""
    return said(e, text, Reason.OUT_OF_MEMORY_KILLED, _HOST_MEMORY)


_HARDWARE = words(
    r"\bXid\b(?=[ (:]|$)|uncorrectable (NVLink|ECC) error|\bECC error|fallen off the bus|GPU is lost"
    r"|cudaErrorECCUncorrectable"
    r"|CUDA driver initialization failed|cudaErrorHardwareStackError"
    r"|device\(s\) is/are busy or unavailable"
    r"|Unable to determine the device handle for|RmInitAdapter failed|cudaErrorSystemNotReady"
    r"|system not yet initialized"
    r"|Failed to initialize NVML|CUDA unknown error - this may be due to|cudaErrorDevicesUnavailable"
    r"|row remapping fail"
    r"|nvidia-container-cli: (?:(?:detection|device) error|initialization error: (?:nvml|driver))|hardware stack error"
    r"|NVLink (?:fatal )?error"
    r"|cudaErrorMps\w+|to the MPS (?:control daemon|server)|MPS server is not ready"
)
_NO_DEVICE = words(r"no CUDA-capable device")


def gpu_hardware(e: Evidence, text: str) -> Diagnosis | None:
    """The GPU itself, or its node's driver, is not well: another node may do. So where the run has been given a GPU
    that the driver does not see."""
    found = said(e, text, Reason.GPU_HARDWARE, _NO_DEVICE) if e.gpus else None
    return found or said(e, text, Reason.GPU_HARDWARE, _HARDWARE)


_SETUP = words(
    r"no kernel image is available for execution|driver version is insufficient"
    r"|NVIDIA driver on your system is too old"
    r"|Found no NVIDIA driver on your system|is not compatible with the current PyTorch installation"
    r"|Torch not compiled with CUDA enabled|mismatches the version that was used to compile"
    r"|no supported devices found for platform"
    r"|cudaErrorNoKernelImageForDevice|cudaErrorInsufficientDriver|invalid device ordinal|invalid device function"
    r"|device kernel image is invalid|unsupported display driver / cuda driver combination|driver is a stub library"
    r"|PTX JIT compiler library not found"
    # The driver's own libraries come with the node, not with the image.
    r"|lib(?:cuda|nvidia-[\w-]+)\.so[\w.]*: cannot open shared object|NVML Shared Library Not Found"
    # No GPU, or fewer than it asks for: CUDA, torch, JAX, Lightning, Transformers, NCCL, ctseg.
    r"|no CUDA-capable device|No CUDA GPUs are available|^AssertionError: Invalid device id"
    r"|no platforms that are instances of (?:gpu|cuda) are present|No supported gpu backend found"
    r"|But your machine only has: ?\[|can ?not run on your system since the accelerator is not available"
    r"|setup doesn't support bf16/gpu|can only be used on CUDA devices|Duplicate GPU detected"
    r"|torch sees (?:no GPU|\d+) here"
    r"|unsatisfied condition: cuda"
    r"|forward compatibility was attempted on non supported HW"
    r"|provided PTX was compiled with an unsupported toolchain"
    r"|FlashAttention only supports|unsupported gpu architecture"
)


def gpu_setup(e: Evidence, text: str) -> Diagnosis | None:
    """Image, driver and GPU do not fit together, or the run got no GPU (or fewer) than it uses."""
    return said(e, text, Reason.GPU_SETUP, _SETUP)


_SHARED = words(
    r"\bBus error\b|insufficient shared memory|out of shared memory|(shm|mmap)[^\n]*</?torch_"
    r"|unable to write to file </torch_"
    r"|unable to (open|allocate) shared memory|Error while creating shared memory segment|shm_open"
    r"|shared memory object </torch_"
    r"|exitcode\s*: -7\b|Signal 7 \(SIGBUS\)|died with <Signals\.SIGBUS"
    r"|size of /dev/shm|posix_fallocate failed"
    # Semaphores and arrays of multiprocessing are files there, of which the message says nothing; the place does.
    r"|No space left on device\b[^\0]*\n[^\n]*\bmultiprocessing/(?:synchronize|shared_memory|heap)\.py "
    r"|\bSemLock\b[^\0]{0,400}No space left on device"
    r"|No space left on device[^\n]*/dev/shm/|/dev/shm/[^\n]*No space left on device"
)


def shared_memory(e: Evidence, text: str) -> Diagnosis | None:
    """Before a full disk: torch and NCCL say "No space left on device" of their segments in /dev/shm too."""
    return said(e, text, Reason.SHARED_MEMORY, _SHARED)


_DISK = words(
    r"No space left on device|\[Errno 28\]|Disk quota exceeded|\[Errno 122\]"
    r"|PytorchStreamWriter failed writing file"
    r"|unexpected pos \d+ vs \d+|not enough free space on (?:the )?(?:disk|device)|errno = 28\b"
    r"|\[Errno 27\] File too large"
    r"|database or disk is full"
    r"|\d+ requested and \d+ written|sqlite3\.OperationalError: disk I/O error"
)


def disk_full(e: Evidence, text: str) -> Diagnosis | None:
    """A volume is full, or a quota. torch's writer says only that it got no further."""
    return said(e, text, Reason.DISK_FULL, _DISK)


_HERE = rf"{OUTPUT_MOUNT}(?:/|\b)"
_READ_ONLY_OUTPUT = words(rf"Read-only file system[^\n]*['\" ]{_HERE}|['\" ]{_HERE}[^\n]*: Read-only file system")


def read_only_output(e: Evidence, text: str) -> Diagnosis | None:
    """The output volume, which every run gets to write on: what is below it has turned read-only, as a file system does
    after an error of its disk, and an export while its server fails over. Any other place may be meant to be so."""
    return said(e, text, Reason.INFRASTRUCTURE, _READ_ONLY_OUTPUT)


_INFRASTRUCTURE = words(
    r"NCCL[^\n]*(timeout|timed out)|nccl(System|Remote|Internal)Error"
    r"|NCCL (?:error|WARN)[^\n]*(?:system|remote|internal) error"
    r"|Watchdog caught collective operation timeout|watchdog (?:thread terminated|got stuck)|Monitored ?Barrier"
    r"|heartbeat monitor timed out"
    r"|Connection reset by peer|ConnectionResetError|Connection refused|Connection timed out"
    r"|Connection closed by|ConnectTimeout|ReadTimeout"
    r"|Temporary failure in name resolution|Name or service not known|Stale (NFS )?file handle|Remote I/O error"
    r"|Transport endpoint is not connected|\[Errno 5\] Input/output error|^\S*Input/output error"
    r"|RendezvousTimeoutError|RendezvousConnectionError"
    r"|\b50[0234]\b[^\n]{0,40}(Server Error|Bad Gateway|Unavailable|Gateway Time-?out|Internal)|\bSlowDown\b"
    r"|Too Many Requests"
    r"|Socket Timeout|EndpointConnectionError|RemoteDisconnected|IncompleteRead|SSLEOFError"
    r"|Max retries exceeded(?![^\n]*CERTIFICATE_VERIFY_FAILED)"
    r"|Network is unreachable"
    r"|No route to host|Address already in use|\[Errno (?:37|70|71|98|10[0-4]|107|108|11[0-3]|116|117|121)\]"
    # Locks of a network's file system, HDF5's among them.
    r"|\[Errno 16\] Device or resource busy: '[^'\n]*\.nfs|unable to lock file|No locks available"
    r"|file lock '[^'\n]*' could not be acquired"
    r"|Timed out (?:after \d+ \w+ )?waiting for clients"
    r"|(?:wait|store|client socket has) timed? ?out|\bBroken ?pipe\b|Gloo connectFullMesh failed"
    r"|connect\(\) timed out"
    # gRPC's words, of JAX, TensorFlow and trackers.
    r"|\b(?-i:DEADLINE_EXCEEDED|UNAVAILABLE): "
    r"|\bdatabase is locked\b"
    r"|StatusCode\.(?:UNAVAILABLE|DEADLINE_EXCEEDED)\b|ServerDisconnectedError|ClientPayloadError|BadStatusLine"
    r"|reading from response stream|node (?:has )?died\b|due to the node dying"
    r"|failed with Input/output error|Timed out (?:after \d+ \w+ )?waiting|gloo/transport"
)


_FABRIC = words(r"\bibv_\w+ (?:\w+ ){0,2}?failed\b")


def fabric(e: Evidence, text: str) -> Diagnosis | None:
    """The verbs of RDMA, which go on with the system's words for whatever it was: memory, devices, time."""
    return said(e, text, Reason.INFRASTRUCTURE, _FABRIC)


def infrastructure(e: Evidence, text: str) -> Diagnosis | None:
    """Network, storage, or the other ranks."""
    return said(e, text, Reason.INFRASTRUCTURE, _INFRASTRUCTURE)


MACHINE: tuple[Rule, ...] = (
    cuda_memory,  # before CUDA's other errors
    fabric,  # before memory: what cannot be registered "cannot allocate memory"
    shared_memory,  # before memory and disk: "Cannot allocate" and "No space left" are said of its segments too
    gpu_hardware,  # before memory: a program may tell the last error of the system with CUDA's, "Cannot allocate" too
    host_memory,
    gpu_setup,
    disk_full,
    read_only_output,
)
"""What the machine did, whatever the program says by its exit code."""
