"""Causes that a run tells of itself: exit codes of the contract and words that only that failure writes.

Owns where words are looked for. The exceptions that ended the run come first, the root cause before what followed from
it; only where there is none, or where they say no more than that another process died, the whole text counts. So a
warning in the log, or a rank that lost its peers, is not taken for the cause.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from orkhaven.api import Reason
from orkhaven.core.failures.cause import Diagnosis
from orkhaven.core.failures.evidence import Evidence
from orkhaven.core.failures.fingerprint import last_words
from orkhaven.core.failures.traces import Chain, fatal, is_wrapper

SIGKILL, SIGBUS = 128 + 9, 128 + 7
_LONGEST_SENTENCE = 600

Rule = Callable[[Evidence, str], Diagnosis | None]
"""The second argument is the text that it is to look at."""

_VAGUE = re.compile(
    r"exited unexpectedly|returned non-zero exit status|Broken ?[Pp]ipe|Connection reset by peer|DistBackendError"
    r"|Connection closed by|^(?:EOFError|SystemExit|KeyboardInterrupt|OSError)\b:?\s*$|died with <Signals"
    r"|Ran out of input$"
    r"|CUDA error: unknown error|unhandled system error|[Aa]bort(?:ed)?$"
)
"""Exceptions that say little: what the log tells besides is worth more."""


def texts(e: Evidence) -> list[str]:
    """Where to look, the most telling first."""
    if not e.text:
        return [""]
    chain = fatal(e.text)
    if not chain:
        return [e.text]
    said = [one.statement if not one.inside else f"{one.statement}\n{one.inside}" for one in chain]
    return [*said, e.text] if any(_is_vague(one.statement) for one in chain) or all(map(is_wrapper, chain)) else said


def _is_vague(statement: str) -> bool:
    return _VAGUE.search(statement) is not None


def by_words(e: Evidence, rules: Sequence[Rule]) -> Diagnosis | None:
    """The first of `rules` that finds its words, in the most telling text that has any."""
    for text in texts(e):
        for rule in rules:
            if (found := rule(e, text)) is not None:
                return found
    return None


def by_loud_words(e: Evidence) -> Diagnosis | None:
    """Words that mean the same wherever they stand, even beside an exception that has none."""
    return next((found for rule in LOUD if (found := rule(e, e.text)) is not None), None)


def _words(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.MULTILINE | re.IGNORECASE)


def _said(
    e: Evidence, text: str, reason: Reason, pattern: re.Pattern[str], *, may_pass: bool = True
) -> Diagnosis | None:
    """A cause where the text has the pattern; its sentence is the record's, else the line that has it."""
    found = pattern.search(text)
    if found is None:
        return None
    start, end = text.rfind("\n", 0, found.start()) + 1, text.find("\n", found.end())
    line = text[start : len(text) if end < 0 else end].strip()
    recorded = e.record is not None and e.record.failure_message
    message = sentence(e) if recorded and pattern.search(sentence(e)) else line
    return Diagnosis(reason=reason, message=message, may_pass=may_pass)


# --- memory, devices, the machine -------------------------------------------------------------------------------------

_CUDA_MEMORY = _words(
    r"CUDA out of memory|(?:HIP|MPS backend) out of memory|torch(\.cuda)?\.OutOfMemoryError"
    r"|CUDA(?: runtime)? error:? out of memory"
    r"|CUBLAS_STATUS_ALLOC_FAILED|CUDNN_STATUS_ALLOC_FAILED|cudaErrorMemoryAllocation|cuda runtime error \(2\)"
    r"|OOM when allocating tensor|RESOURCE_EXHAUSTED: Out of memory|Cuda failure 'out of memory'"
    r"|cudaMalloc(?:Async)? failed: out of memory|CUDA_ERROR_OUT_OF_MEMORY"
    r"|failed to allocate memory on (?:the )?GPU"
)


def cuda_memory(e: Evidence, text: str) -> Diagnosis | None:
    """The GPU's memory, in the words of torch, cuBLAS, cuDNN, NCCL, TensorFlow and JAX."""
    return _said(e, text, Reason.CUDA_OUT_OF_MEMORY, _CUDA_MEMORY)


_HOST_MEMORY = _words(
    r"DataLoader worker .*killed by signal: Killed|^(?:numpy\.\S*)?_?(?:Array)?MemoryError\b|std::bad_alloc"
    r"|DefaultCPUAllocator: (?:can't|not enough|cannot) |\[Errno 12\]|Cannot allocate memory"
    r"|Unable to allocate [\d.]+ [KMGT]iB"
    r"|oom-kill(?:er)? event|Out of memory: Kill(?:ed)? process|Memory cgroup out of memory"
    r"|(?:exitcode|Signal) ?:? ?-?9\b[^\n]*SIGKILL|exitcode\s*: -9\b|died with <Signals\.SIGKILL"
)


def host_memory(e: Evidence, text: str) -> Diagnosis | None:
    """The node's memory: an allocation that was refused, or a child that the kernel's OOM killer took."""
    return _said(e, text, Reason.OUT_OF_MEMORY_KILLED, _HOST_MEMORY)


_HARDWARE = _words(
    r"\bXid\b(?=[ (:]|$)|uncorrectable (NVLink|ECC) error|\bECC error|fallen off the bus|GPU is lost"
    r"|cudaErrorECCUncorrectable"
    r"|no CUDA-capable device|CUDA driver initialization failed|cudaErrorHardwareStackError"
    r"|device\(s\) is/are busy or unavailable"
    r"|Unable to determine the device handle for|RmInitAdapter failed|cudaErrorSystemNotReady"
    r"|system not yet initialized"
    r"|Failed to initialize NVML|CUDA unknown error - this may be due to|cudaErrorDevicesUnavailable"
    r"|row remapping fail"
    r"|nvidia-container-cli: (?:detection|device) error|hardware stack error|NVLink (?:fatal )?error"
)


def gpu_hardware(e: Evidence, text: str) -> Diagnosis | None:
    """The GPU itself, or its node's driver, is not well: another node may do."""
    return _said(e, text, Reason.GPU_HARDWARE, _HARDWARE)


_SETUP = _words(
    r"no kernel image is available for execution|driver version is insufficient"
    r"|NVIDIA driver on your system is too old"
    r"|Found no NVIDIA driver on your system|is not compatible with the current PyTorch installation"
    r"|Torch not compiled with CUDA enabled"
    r"|cudaErrorNoKernelImageForDevice|cudaErrorInsufficientDriver|CUDA error: invalid device ordinal"
    r"|unsatisfied condition: cuda"
    r"|forward compatibility was attempted on non supported HW"
    r"|provided PTX was compiled with an unsupported toolchain"
    r"|torch\.cuda\.is_available\(\) is False|FlashAttention only supports|unsupported gpu architecture"
)


def gpu_setup(e: Evidence, text: str) -> Diagnosis | None:
    """Image, driver and GPU do not fit together, or the run got no GPU (or fewer) than it uses."""
    return _said(e, text, Reason.GPU_SETUP, _SETUP)


_SHARED = _words(
    r"\bBus error\b|insufficient shared memory|out of shared memory|(shm|mmap)[^\n]*</?torch_"
    r"|unable to write to file </torch_"
    r"|unable to (open|allocate) shared memory|Error while creating shared memory segment|shm_open"
    r"|shared memory object </torch_"
    r"|size of /dev/shm"
)


def shared_memory(e: Evidence, text: str) -> Diagnosis | None:
    """Before a full disk: torch and NCCL say "No space left on device" of their segments in /dev/shm too."""
    return _said(e, text, Reason.SHARED_MEMORY, _SHARED)


_DISK = _words(
    r"No space left on device|\[Errno 28\]|Disk quota exceeded|\[Errno 122\]"
    r"|PytorchStreamWriter failed writing file"
    r"|unexpected pos \d+ vs \d+|not enough free space on (?:the )?(?:disk|device)|errno = 28\b"
    r"|\[Errno 27\] File too large"
    r"|database or disk is full"
)


def disk_full(e: Evidence, text: str) -> Diagnosis | None:
    """A volume is full, or a quota. torch's writer says only that it got no further."""
    return _said(e, text, Reason.DISK_FULL, _DISK)


_INFRASTRUCTURE = _words(
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
    r"|Socket Timeout|EndpointConnectionError|RemoteDisconnected|IncompleteRead|SSLEOFError|Max retries exceeded"
    r"|Network is unreachable"
    r"|No route to host|Address already in use|\[Errno (?:98|104|107|110|111|113|116|121)\]"
    r"|Timed out (?:after \d+ \w+ )?waiting for clients"
    r"|(?:wait|store|client socket has) timed? ?out|\bBroken ?pipe\b|Gloo connectFullMesh failed"
    r"|connect\(\) timed out"
)


def infrastructure(e: Evidence, text: str) -> Diagnosis | None:
    """Network, storage, or the other ranks."""
    return _said(e, text, Reason.INFRASTRUCTURE, _INFRASTRUCTURE)


# --- the program and its surroundings ---------------------------------------------------------------------------------

_CHECKPOINT = _words(
    r"Error\(s\) in loading state_dict|PytorchStreamReader failed|failed finding central directory"
    r"|Weights only load failed"
    r"|invalid magic number; corrupt file|loaded state dict (?:contains|has a different)|UnpicklingError"
    r"|Error while deserializing header"
    r"|Invalid header or archive is corrupted|HeaderTooLarge|MetadataIncompleteBuffer|InvalidHeader"
    r"|storage has wrong byte size|unexpected EOF, expected \d+ more bytes"
    r"|(?:Missing|Unexpected) key\(s\) in state_dict|Attempting to deserialize object on|not a checkpoint file"
    r"|checkpoint[^\n]{0,60}(?:corrupt|truncated|not found|does not exist)"
    r"|unexpected key[^\n]{0,40}in (?:source )?state_dict"
    r"|(?:No such file|does not exist|not found)[^\n]*\.(?:pth?|ckpt|safetensors|pth\.tar)\b"
)


def checkpoint(e: Evidence, text: str) -> Diagnosis | None:
    """A checkpoint that is missing, cut off, or of another model. Before the shapes: torch lists these too."""
    return _said(e, text, Reason.CHECKPOINT_ERROR, _CHECKPOINT)


_DATA = _words(
    r"cannot identify image file|image file is truncated|broken (?:PNG|data stream)|InvalidDicomError"
    r"|DICOM File Meta Information|ImageFileError"
    r"|(?:BadZipFile|BadGzipFile|CorruptedError|ParserError: Error tokenizing|EmptyDataError)"
    r"|Compressed file ended before|File is not a zip file"
    r"|CRC check failed|Unable to (?:synchronously )?open (?:file|object)"
    r"|num_samples should be a positive integer value, but got num_samples ?= ?0"
    r"|Found 0 (?:files|images) in|Couldn't find any class folder|Not a gzipped file|decompressing data"
    r"|premature end of (?:JPEG|data)"
    r"|(?:No such file|does not exist|not found)[^\n]*\.(?:png|jpe?g|dcm|nii(?:\.gz)?|npy|npz|h5|hdf5|csv"
    r"|tiff?|mha|mhd|nrrd|lmdb|parquet|tfrecord|mp4|wav|bmp|tar|zip|mat|txt)\b"
    r"|No data could be read|unable to (?:read|determine ImageIO reader for)"
    r"|cannot reshape array of size \d+ into shape[^\n]*\n[^\n]*(?:nibabel|numpy/lib/format)"
    r"|Cannot load file containing pickled data|magic string is not correct|No data left in file"
    r"|Dataset (?:not found|is empty)|Empty (?:dataset|data)"
    r"|Expected \d+ bytes of (?:pixel data|data)|PixelData"
    r"|(?:pixel data|Transfer Syntax)[^\n]*(?:missing|cannot|unable|not|less)|unsupported or malformed"
    r"|mmap length is greater than file size|Header data length|Premature end|Truncated File Read"
    r"|Could not find (?:image|file|data)|masks? (?:is|are) missing"
)


def data_error(e: Evidence, text: str) -> Diagnosis | None:
    """Data that is missing, empty, cut off or not what its name says."""
    # A program that keeps no contract: a file error that names a place among the data.
    for path in e.data_paths:
        here = re.escape(path.rstrip("/"))
        place = (
            rf"(FileNotFound|Permission|NotADirectory|IsADirectory|UnidentifiedImage)Error\b[^\n]*['\" ]{here}(/|\b)"
        )
        if found := _said(e, text, Reason.DATA_ERROR, _words(place)):
            return found
    return _said(e, text, Reason.DATA_ERROR, _DATA)


_IMPORT = _words(
    r"^(ModuleNotFoundError|ImportError)\b.*|No module named|cannot open shared object file|undefined symbol:"
    r"|version `\w+_[\d.]+' not found"
    r"|may indicate binary incompatibility"
    r"|AttributeError: (?:partially initialized )?module '[\w.]+' has no attribute"
    r"|^RuntimeError: Failed to import|DistributionNotFound|PackageNotFoundError|VersionConflict"
    r"|requires? (?:the )?[`'\"]?[\w-]+[`'\"]? (?:library|package) but"
    r"|Symbol not found:"
)


def import_error(e: Evidence, text: str) -> Diagnosis | None:
    """A module that the image lacks, or has in a version that does not fit."""
    return _said(e, text, Reason.IMPORT_ERROR, _IMPORT)


_PARAMS = _words(
    r"^(?:\S+: )?error: (?:unrecognized arguments|argument |the following arguments are required|invalid "
    r"choice|ambiguous option).*"
    r"|^Error: (No such option|Invalid value|Missing option|Got unexpected extra argument).*|no such option: -"
    r"|Invalid (?:learning rate|momentum(?: value)?|weight[_ ]decay(?: value)?|beta parameter|epsilon value"
    r"|lr|dampening)"
    r"|\d+ validation errors? for \w+|dropout probability has to be between|batch_size should be a positive"
    r"|should be a positive integer value, but got batch_size"
    r"|num_workers option should be non-negative|must be divisible by|should be divisible by|is not divisible by"
    r"|Unknown model \(|Invalid model name"
    r"|Unknown (?:optimizer|loss|encoder|activation|scheduler|architecture)|Wrong encoder name|InvalidParams"
    r"|prefetch_factor|is not a valid \w+$"
    r"|Could not override|Key '[^']+' is not in struct|has to be (?:positive|non-negative|in|between)"
    r"|must be (?:positive|non-negative|in the range|between \d|a positive|one of)"
    r"|but got invalid lr|expected a positive (?:value|integer)|not in \[?0, ?1|unrecognized arguments"
)


_ARGPARSE = _words(r"^\S+: error: .*")


def invalid_params(e: Evidence, text: str) -> Diagnosis | None:
    """Parameters that the program or a library refuses; exit code 2 is argparse's own way to say it."""
    if e.exit_code == 2 and (found := _said(e, text, Reason.INVALID_PARAMS, _ARGPARSE)):
        return found
    return _said(e, text, Reason.INVALID_PARAMS, _PARAMS)


_CONFIG = _words(
    r"yaml\.(?:scanner\.ScannerError|parser\.ParserError|constructor|reader|composer)|omegaconf\.|hydra\.errors"
    r"|MissingConfigException|configparser\.|MissingMandatoryValue|ConfigAttributeError"
    r"|TOMLDecodeError|Read-only file system|\[Errno 30\]|executable file not found in \$PATH|exec format error"
    r"|command not found|can't open file '"
    r"|api_key not configured|wandb\.errors\.\w*(?:UsageError|AuthenticationError)|GatedRepo|RepositoryNotFound"
    r"|40[13] Client Error|Unable to locate credentials|NoCredentialsError"
    r"|InvalidAccessKeyId|AccessDenied|SignatureDoesNotMatch|DefaultCredentialsError|Authentication failed"
    r"|password authentication failed"
    r"|KeyError: '[A-Z][A-Z0-9_]{2,}'"
    r"|(?:No such file|does not exist|not found)[^\n]*\.(?:ya?ml|toml|cfg|ini|json)\b"
    r"|environment variable[^\n]*(?:expected|not set|missing|required|must)"
    r"|PermissionError|Permission denied|JSONDecodeError"
    r"|(?:starting container process caused|unable to start container process)"
    r"|no such file or directory: unknown"
)


def config(e: Evidence, text: str) -> Diagnosis | None:
    """The run's surroundings: config files, credentials, variables, command, rights."""
    return _said(e, text, Reason.CONFIG_ERROR, _CONFIG)


_SHAPES = _words(
    r"shapes cannot be multiplied|size mismatch|must match the size of tensor|Sizes of tensors must match"
    r"|to match target batch_size|to have \d+ channels, but got"
    r"|could not be broadcast together|shape '\[[^\]]*\]' is invalid for input"
    r"|stack expects each tensor to be equal size|Calculated padded input size per channel"
    r"|Kernel size can't be greater|Dimension out of range|inhomogeneous (?:shape|part)"
    r"|Expected more than 1 value per channel|must be the same as (?:the )?input size|Expected \d+D"
    r"|Incompatible shapes|input\.size\(-1\) must be equal|expected input\["
    r"|must have the same (?:number of dimensions|size|shape)|Trying to resize storage that is not resizable"
    r"|all input arrays must have the same shape|all the input array dimensions|cannot reshape (?:array|tensor)"
    r"|doesn't match the broadcast shape|only batches of spatial targets"
    r"|The expanded size of the tensor|inconsistent (?:tensor size|numbers of samples)|shapes? mismatch"
    r"|Wrong input shape|matmul: Input operand|not aligned: |Given normalized_shape="
    r"|expected (?:a )?\d+D|number of dims don't match|multi-target not supported|Output size is too small"
    r"|got input of size|dimension \d+ mismatch|index tensor.*shape|dimensions? (?:of|must)[^\n]*match"
    r"|Padding size should be less|expected (?:batch2|m1|mat1)|mat1 dim 1 must match|Batch ?size mismatch"
    r"|Input and output sizes should be"
)


def shapes(e: Evidence, text: str) -> Diagnosis | None:
    """Tensors or arrays that do not fit each other: the same every time."""
    return _said(e, text, Reason.SHAPE_MISMATCH, _SHAPES)


_DIVERGED = _words(
    r"\b(loss|gradient|grad_norm|metric|objective|reward)\b[^\n]{0,60}\b(is|are|became|was|to be|=+) "
    r"?(infinite or )?(nan|inf)\b.*"
    r"|Input (?:\w+ )?contains (?:NaN|infinity)"
    r"|returned nan values in its|Minimum loss scale reached|loss scale already at minimum"
    r"|Loss is (?:nan|inf|infinite)|found invalid values:\s*tensor\(\[*\s*nan"
    r"|tensor contains either `inf`, `nan`"
    r"|(?:NaN|Inf)(?: or Inf)? (?:found|detected|encountered) in|array must not contain infs or NaNs"
    r"|non-?finite (?:loss|gradient|value)|loss diverged|(?:nan|inf|NaN) (?:loss|gradient|detected)"
    r"|total norm of order [\d.]+ for gradients[^\n]*non-finite|FloatingPointError|Loss became|\bDiverged\b"
    r"|NaN or infinity|contains NaN"
)


def diverged(e: Evidence, text: str) -> Diagnosis | None:
    """NaN or infinity where a number should be."""
    return _said(e, text, Reason.DIVERGED, _DIVERGED)


_CUDA = _words(
    r"device-side assert triggered|illegal memory access|misaligned address|unspecified launch failure"
    r"|CU(?:BLAS|DNN|FFT|SOLVER|SPARSE)_STATUS_\w+|cudaErrorIllegalAddress|cudaErrorAssert"
    r"|CUDA error: an illegal instruction|invalid configuration argument|cudaErrorLaunchFailure|cuDNN error"
    r"|Assertion `[^`]+` failed"
)


def cuda_error(e: Evidence, text: str) -> Diagnosis | None:
    """A kernel of the program's own died: most often a label or an index out of range."""
    return _said(e, text, Reason.CUDA_ERROR, _CUDA)


_CRASHED = _words(
    r"Segmentation fault|Fatal Python error|SIGSEGV|SIGABRT|SIGILL|Illegal instruction|terminate called"
    r"|double free or corruption|malloc\(\): |free\(\): invalid|stack smashing|core dumped"
    r"|killed by signal: (?:Segmentation|Aborted)|signal 1?[146] \(SIG(?:SEGV|ABRT|ILL|BUS)|munmap_chunk"
    r"|corrupted size"
)
_CRASH_CODES = {
    128 + 4: "illegal instruction",
    128 + 6: "abort",
    128 + 8: "arithmetic error",
    128 + 11: "segmentation fault",
}


def crashed(e: Evidence, text: str) -> Diagnosis | None:
    """Native code ended the process."""
    if found := _said(e, text, Reason.CRASHED, _CRASHED):
        return found
    if e.exit_code in _CRASH_CODES and text is e.text:
        what = _CRASH_CODES[e.exit_code]
        return Diagnosis(reason=Reason.CRASHED, message=f"{what} (exit code {e.exit_code}): {sentence(e)}")
    return None


MACHINE: tuple[Rule, ...] = (
    cuda_memory,  # before CUDA's other errors
    host_memory,
    gpu_hardware,
    gpu_setup,
    shared_memory,  # before the disk: "No space left" is said of both
    disk_full,
)
"""What the machine did, whatever the program says by its exit code."""
PROGRAM: tuple[Rule, ...] = (
    checkpoint,  # before data and shapes: torch lists shapes of a checkpoint that does not fit
    import_error,
    data_error,
    infrastructure,
    diverged,
    cuda_error,
    shapes,
    invalid_params,
    config,
    crashed,  # last: libraries say "terminate called" after they have said why
)
LOUD: tuple[Rule, ...] = (gpu_hardware, shared_memory, crashed)


# --- sentences --------------------------------------------------------------------------------------------------------


def sentence(e: Evidence) -> str:
    """What it said of itself, in one line."""
    record = e.record
    if record is not None and (record.failure_message or record.failure_type):
        own = record.failure_type.startswith("orkrun.")
        return (
            record.failure_message if own else ": ".join(p for p in (record.failure_type, record.failure_message) if p)
        )
    if e.text and (chain := fatal(e.text)):
        return with_code(e, _one_line(chain))
    if last := last_words(e.text):
        return with_code(e, last)
    if e.exit_code is not None:
        return f"ended with exit code {e.exit_code} and said nothing"
    return e.pod_message or e.job_message or e.pod_reason or "ended without a word"


def with_code(e: Evidence, text: str) -> str:
    return text if e.exit_code is None else f"{text} (exit code {e.exit_code})"


def _one_line(chain: Chain) -> str:
    """The last of the chain, and what it came from."""
    last, root = (one.statement.splitlines()[0][:_LONGEST_SENTENCE] for one in (chain[-1], chain[0]))
    return last if last == root else f"{last} (because of {root})"
