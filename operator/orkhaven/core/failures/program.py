"""Words of what the program, its data or its surroundings did."""

from __future__ import annotations

import re

from orkhaven.api import Reason
from orkhaven.core.failures.cause import Diagnosis
from orkhaven.core.failures.evidence import Evidence
from orkhaven.core.failures.machine import infrastructure
from orkhaven.core.failures.needles import words
from orkhaven.core.failures.places import tells_of_data
from orkhaven.core.failures.traces import fatal
from orkhaven.core.failures.words import Rule, said, sentence

_CHECKPOINT = words(
    r"Error\(s\) in loading state_dict|PytorchStreamReader failed|failed finding central directory"
    r"|Weights only load failed"
    r"|invalid magic number; corrupt file|loaded state dict (?:contains|has a different)|UnpicklingError"
    r"|Error while deserializing header"
    r"|Invalid header or archive is corrupted|HeaderTooLarge|MetadataIncompleteBuffer|InvalidHeader"
    r"|DataLossError[^\n]*(?:Unable to open table file|not an sstable)"
    r"|storage has wrong byte size|unexpected EOF, expected \d+ more bytes"
    r"|(?:Missing|Unexpected) key\(s\) in state_dict|Attempting to deserialize object on|not a checkpoint file"
    r"|checkpoint[^\n]{0,60}(?:corrupt|truncated|not found|does not exist)"
    r"|unexpected key[^\n]{0,40}in (?:source )?state_dict"
    r"|(?:No such file|does not exist|not found)[^\n]*\.(?:pth?|ckpt|safetensors|pth\.tar)\b"
    r"|^EOFError\b[^\n]*\n[^\n]*_?(?:serialization|unpickler)"
    r"|size mismatch for [\w.]+: copying a param"
)


def checkpoint(e: Evidence, text: str) -> Diagnosis | None:
    """A checkpoint that is missing, cut off, or of another model. Before the shapes: torch lists these too."""
    return said(e, text, Reason.CHECKPOINT_ERROR, _CHECKPOINT)


_DATA = words(
    r"cannot identify image file|image file is truncated|broken (?:PNG|data stream)|InvalidDicomError"
    r"|DICOM File Meta Information|ImageFileError"
    r"|(?:BadZipFile|BadGzipFile|CorruptedError|ParserError: Error tokenizing|EmptyDataError)"
    r"|Compressed file ended before|File is not a zip file"
    r"|CRC check failed|Unable to (?:synchronously )?open (?:file|object)(?![^\n]*unable to lock file)"
    r"|Can't (?:synchronously )?read data \(|EOF: reading (?:magic|array)|Invalid data found when processing input"
    r"|(?:suitable|matching) (?:reader|decoder|codec|plugin) for (?:the )?(?:file|image)|(?:Read|EOF|OS|Value"
    r"|Runtime)Error: \W{0,2}unexpected end of data"
    # Headers of NIfTI and DICOM, series and tags; stores of zarr; tables and records.
    r"|Header(?:Data|Type)Error\b|only supports orthonormal direction cosines"
    r"|ImageSeriesReader\([^)\n]*\): Size mismatch"
    r"|(?-i:'File(?:Meta)?Dataset' object has no attribute '[A-Z])|(?:Group|Array|Path|Node)NotFoundError"
    r"|DataLossError[^\n]*(?:corrupted|truncated) record|(?:JSON|CSV) parse error|ElementTree\.ParseError"
    r"|XMLSyntaxError"
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
    r"|no pixel data to decode|could the file be damaged|Failed to read all data for array"
    r"|This file contains pickled|Found no valid file for the classes|file could not be opened successfully"
    r"|truncated header|not a gzip file"
)


def data_error(e: Evidence, text: str) -> Diagnosis | None:
    """Data that is missing, empty, cut off or not what its name says."""
    # A program that keeps no contract: a file error that names a place among the data.
    for path in e.data_paths:
        here = re.escape(path.rstrip("/"))
        place = (
            rf"(FileNotFound|Permission|NotADirectory|IsADirectory|UnidentifiedImage)Error\b[^\n]*['\" ]{here}(/|\b)"
        )
        if found := said(e, text, Reason.DATA_ERROR, words(place)):
            return found
    return said(e, text, Reason.DATA_ERROR, _DATA)


_DECODED = words(r"JSONDecodeError")


def decoded(e: Evidence, text: str) -> Diagnosis | None:
    """JSON that is none, where another exception of the chain, or who was reading, tells that it was data. Before the
    configuration, which it most often is."""
    if "JSONDecodeError" in text and any(tells_of_data(one) for one in fatal(e.text)):
        return said(e, text, Reason.DATA_ERROR, _DECODED)
    return None


_IMPORT = words(
    r"^(ModuleNotFoundError|ImportError)\b.*|No module named|cannot open shared object file|undefined symbol:"
    r"|version `\w+_[\d.]+' not found"
    r"|may indicate binary incompatibility"
    r"|AttributeError: (?:partially initialized )?module '[\w.]+' has no attribute"
    r"|^RuntimeError: Failed to import|DistributionNotFound|PackageNotFoundError|VersionConflict"
    r"|requires? (?:the )?[`'\"]?[\w-]+[`'\"]? (?:library|package) but"
    r"|Symbol not found:|module (?:was )?compiled (?:against|using) (?:ABI |API |NumPy )"
    r"|operator \w+::\w+ does not exist|^[\w.]*OptionalImportError\b"
    # MONAI, where no reader that knows such a file is there.
    r"|suitable reader for file: \S+\.(?:nii|dcm|nrrd|mh[ad])[^\0]*registered: \[(?![^\]]*(?:Nibabel|ITK|Nrrd|Pydicom))"
)


def import_error(e: Evidence, text: str) -> Diagnosis | None:
    """A module that the image lacks, or has in a version that does not fit."""
    return said(e, text, Reason.IMPORT_ERROR, _IMPORT)


_PARAMS = words(
    r"^(?:\S+: )?error: (?:unrecognized arguments|argument |the following arguments are required|invalid "
    r"choice|ambiguous option).*"
    # Click's, also in the frame that Rich draws.
    r"|^(?:Error:|\W) (?:No such option|Invalid value|Missing (?:option|argument|parameter)|Got unexpected extra "
    r"argument).*|no such option: -"
    r"|Invalid (?:learning rate|momentum(?: value)?|weight[_ ]decay(?: value)?|beta parameter|epsilon value"
    r"|lr|dampening)"
    r"|\d+ validation errors? for \w+|dropout probability has to be between|batch_size should be a positive"
    r"|should be a positive integer value, but got batch_size"
    r"|num_workers option should be non-negative|must be divisible by|should be divisible by|is not divisible by"
    r"|Unknown model \(|Invalid (?:model name|pretrained tag)|is not in the [\w. ]+ registry"
    r"|No object named '[^'\n]+' found in '[^'\n]+' registry"
    r"|Unknown (?:optimizer|loss|encoder|activation|scheduler|architecture)|Wrong encoder name|InvalidParams"
    r"|prefetch_factor|is not a valid \w+$"
    r"|Could not override|Key '[^']+' is not in struct|has to be (?:positive|non-negative|in|between)"
    r"|must be (?:positive|non-negative|in the range|between \d|a positive|one of)"
    r"|but got invalid lr|expected a positive (?:value|integer)|not in \[?0, ?1|unrecognized arguments"
)


_ARGPARSE = words(r"^\S+: error: .*")


def invalid_params(e: Evidence, text: str) -> Diagnosis | None:
    """Parameters that the program or a library refuses; exit code 2 is argparse's own way to say it."""
    if e.exit_code == 2 and (found := said(e, text, Reason.INVALID_PARAMS, _ARGPARSE)):
        return found
    return said(e, text, Reason.INVALID_PARAMS, _PARAMS)


_CONFIG = words(
    r"mapping values are not allowed here|yaml\.(?:scanner\.ScannerError|parser\.ParserError|constructor"
    r"|reader|composer)|omegaconf\.|hydra\.errors"
    r"|MissingConfigException|configparser\.|MissingMandatoryValue|ConfigAttributeError"
    r"|TOMLDecodeError|Read-only file system|\[Errno 30\]|executable file not found in \$PATH|exec format error"
    r"|command not found|can't open file '"
    r"|api_key not configured|wandb\.errors\.\w*(?:UsageError|AuthenticationError)|GatedRepo|RepositoryNotFound"
    r"|40[13] Client Error|Unable to locate credentials|NoCredentialsError"
    r"|InvalidAccessKeyId|AccessDenied|SignatureDoesNotMatch|DefaultCredentialsError|Authentication failed"
    r"|password authentication failed|CERTIFICATE_VERIFY_FAILED"
    r"|\((?:NoSuchBucket|ExpiredToken\w*|InvalidToken|40[13])\) when calling|NoRegionError|ProfileNotFound"
    r"|\bgated repo|request access at"
    r"|KeyError: (?-i:'[A-Z][A-Z0-9_]{2,}')(?!\n[^\n]*\benum\.py )"
    r"|(?:No such file|does not exist|not found)[^\n]*\.(?:ya?ml|toml|cfg|ini|json)\b"
    r"|environment variable[^\n]*(?:expected|not set|missing|required|must)"
    r"|PermissionError|Permission denied|JSONDecodeError"
    r"|(?:starting container process caused|unable to start container process)"
    r"|no such file or directory: unknown|Failed to find C compiler|Ninja is required to load C\+\+ extensions"
    r"|No such file or directory: '(?:[^'\n]*/)?(?:gcc|g\+\+|cc|c\+\+|clang|nvcc|ninja|git)'"
)


def config(e: Evidence, text: str) -> Diagnosis | None:
    """The run's surroundings: config files, credentials, variables, command, rights."""
    return said(e, text, Reason.CONFIG_ERROR, _CONFIG)


_SETTINGS = words(r"validation errors? for \w*(?:Settings|Env|Environment|Secrets|Credentials)\b[^\0]*type=missing\b")


def settings(e: Evidence, text: str) -> Diagnosis | None:
    """Variables that pydantic-settings misses: it says so as of any model, but these are called by what they hold."""
    return said(e, text, Reason.CONFIG_ERROR, _SETTINGS)


_SHAPES = words(
    r"shapes cannot be multiplied|size mismatch|must match the size of tensor|Sizes of tensors must match"
    r"|to match target batch_size|to have \d+ channels, but got"
    r"|could not be broadcast together|shape '\[[^\]]*\]' is invalid for input"
    r"|stack expects each tensor to be equal size|Calculated padded input size per channel"
    r"|Kernel size can't be greater|Dimension out of range|inhomogeneous (?:shape|part)"
    r"|Expected more than 1 value per channel|must be the same as (?:the )?input size|Expected \d+D"
    r"|Incompatible shapes|input\.size\(-1\) must be equal|expected input\["
    r"|must have the same (?:number of dimensions|size|shape|(?:first|last|leading|batch|inner) dim)"
    r"|Trying to resize storage that is not resizable"
    r"|all input arrays must have the same shape|all the input array dimensions|cannot reshape (?:array|tensor)"
    r"|doesn't match the broadcast shape|only batches of spatial targets"
    r"|The expanded size of the tensor|inconsistent (?:tensor size|numbers of samples)|shapes? mismatch"
    r"|Wrong input shape|matmul: Input operand|not aligned: |Given normalized_shape="
    r"|expected (?:a )?\d+D|number of dims don't match|multi-target not supported|Output size is too small"
    r"|got input of size|dimension \d+ mismatch|index tensor.*shape|dimensions? (?:of|must)[^\n]*match"
    r"|Padding size should be less|expected batch2|mat1 dim 1 must match|Batch ?size mismatch"
    r"|Input and output sizes should be"
    # TensorFlow, Keras, einsum.
    r"|Dimensions must be equal|Matrix size-incompatible|is incompatible with the layer|must be broadcastable"
    r"|Cannot feed value of shape|requested shape (?:has|requires)|Can ?not squeeze dim|Negative dimension size"
    r"|Shapes [^\n]+ are incompatible|does not broadcast with|cardinality is ambiguous"
    r"|in both shapes must be equal|zero-dimensional arrays cannot be concatenated|array element with a sequence"
    r"|split_sizes to sum exactly|multiply up to the size"
    r"|Expected size for first two dimensions|must be a \d+D tensor|shape of the mask"
)


def shapes(e: Evidence, text: str) -> Diagnosis | None:
    """Tensors or arrays that do not fit each other: the same every time."""
    return said(e, text, Reason.SHAPE_MISMATCH, _SHAPES)


_DIVERGED = words(
    r"\b(loss|gradient|grad_norm|metric|objective|reward)\b[^\n]{0,60}\b(is|are|became|was|to be|=+) "
    r"?(infinite or )?(nan|inf)\b.*"
    r"|Input (?:\w+ )?contains (?:NaN|infinity)"
    r"|returned nan values in its|Minimum loss scale reached|loss scale already at minimum"
    r"|Loss is (?:nan|inf|infinite)|found invalid values:\s*tensor\(\[*\s*nan"
    r"|tensor contains either `?inf`?, `?nan\b"
    r"|(?:NaN|Inf)(?: or Inf)? (?:found|detected|encountered) in|array must not contain infs or NaNs"
    r"|non-?finite (?:loss|gradient|value)|loss diverged|(?:nan|inf|NaN) (?:loss|gradient|detected)"
    r"|total norm of order [\d.]+ for gradients[^\n]*non-finite|FloatingPointError|Loss became|\bDiverged\b"
    r"|NaN or infinity|contains NaN|matrix contains invalid numeric entries"
    # A check of the program's own on the GPU.
    r"|Assertion `[^\n`]*(?:finite|isnan|isinf|\bnan\b)[^\n`]*` failed"
    r"|\b(?:outputs?|loss|values?|weights?) (?:is|are|became|contains?) (?:nan|inf)\b"
)


def diverged(e: Evidence, text: str) -> Diagnosis | None:
    """NaN or infinity where a number should be."""
    return said(e, text, Reason.DIVERGED, _DIVERGED)


_CUDA = words(
    r"device-side assert triggered|illegal memory access|misaligned address|unspecified launch failure"
    r"|CU(?:BLAS|DNN|FFT|SOLVER|SPARSE)_STATUS_\w+|invalid configuration argument|cuDNN error"
    r"|Assertion `.+` failed|out of resource: (?:shared memory|tensor memory|threads)"
    # Whatever else CUDA says: what is the machine's has been told apart before.
    r"|CUDA error: (?!unknown error|initialization error|operation not permitted when stream is capturing"
    r"|operation failed due to a previous error during capture)"
    r"|\bcudaError(?!Unknown|Initialization|StreamCapture)[A-Z]\w+"
    r"|\bCUDA_ERROR_(?!UNKNOWN|NOT_INITIALIZED)\w+"
)


def cuda_error(e: Evidence, text: str) -> Diagnosis | None:
    """A kernel of the program's own died, most often of a label or an index out of range, or cannot be launched."""
    return said(e, text, Reason.CUDA_ERROR, _CUDA)


_CRASHED = words(
    r"Segmentation fault|Fatal Python error|SIGSEGV|SIGABRT|SIGILL|Illegal instruction|terminate called"
    r"|double free or corruption|malloc\(\): |free\(\): invalid|stack smashing|core dumped"
    r"|killed by signal: (?:Segmentation|Aborted)|signal 1?[146] \(SIG(?:SEGV|ABRT|ILL|BUS)|munmap_chunk"
    r"|corrupted size"
    r"|AddressSanitizer|\bSEGV\b"
)
_CRASH_CODES = {
    128 + 4: "illegal instruction",
    128 + 6: "abort",
    128 + 8: "arithmetic error",
    128 + 11: "segmentation fault",
}


def crashed(e: Evidence, text: str) -> Diagnosis | None:
    """Native code ended the process."""
    if found := said(e, text, Reason.CRASHED, _CRASHED):
        return found
    if e.exit_code in _CRASH_CODES and e.text.endswith(text):
        what = _CRASH_CODES[e.exit_code]
        return Diagnosis(reason=Reason.CRASHED, message=f"{what} (exit code {e.exit_code}): {sentence(e)}")
    return None


PROGRAM: tuple[Rule, ...] = (
    checkpoint,  # before data and shapes: torch lists shapes of a checkpoint that does not fit
    import_error,
    data_error,
    decoded,
    infrastructure,
    diverged,
    cuda_error,
    shapes,
    settings,  # before parameters: both are a model's validation errors
    invalid_params,
    config,
    crashed,  # last: libraries say "terminate called" after they have said why
)
