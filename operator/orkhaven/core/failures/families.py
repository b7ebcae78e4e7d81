"""What people and libraries say in sentences of their own: families of wording, for what no known sentence fits.

Owns the last look at an exception, or at the last words of a text without one, before it is any `UserException`: what
is spoken of (loss, mask, checkpoint, GPUs), and what is said of it (NaN, cut off, too few). They are wide, and so come
after everything that is known word for word, and never count in a whole log.
"""

from __future__ import annotations

from orkhaven.api import Reason
from orkhaven.core.failures.cause import Diagnosis
from orkhaven.core.failures.evidence import Evidence
from orkhaven.core.failures.fingerprint import last_words
from orkhaven.core.failures.needles import Words, words
from orkhaven.core.failures.places import by_place
from orkhaven.core.failures.traces import fatal
from orkhaven.core.failures.words import said

_BUGS = frozenset(
    {"AttributeError", "NameError", "UnboundLocalError", "SyntaxError", "IndentationError", "RecursionError",
     "ZeroDivisionError", "PicklingError"}
)  # fmt: skip
"""Types that say themselves that the program is wrong, whatever its message speaks of."""
_ALSO_BUGS = frozenset({"TypeError"})
"""The same, but JAX, NumPy and others say with it too that shapes do not fit."""

_MISSED = r"not found|missing|do(?:es)? not (?:match|exist|fit|contain|belong)|do(?:es)?n't (?:match|exist|fit|contain)"
_ENDED = (
    r"corrupt(?:ed)?|damaged|truncated|incomplete|malformed|unreadable|(?:can ?not|could not) be (?:read"
    r"|opened|decoded|loaded)"
)

_GPU_MEMORY = words(
    r"\b(?:ran out of|insufficient|not enough|exhausted) (?:free )?(?:gpu|cuda|device|video) memory\b"
    r"|\b(?:gpu|cuda|device) memory\b[^\n]{0,40}\bcould not be allocated\b|"
    r"\b(?:too (?:large|big|much)|(?:does|do|did) ?n(?:o|')t fit|not enough (?:memory|room))\b[^\n]{0,40}"
    r"\b(?:gpu|vram|device memory)\b"
    r"|\b(?:gpu|vram|device)\b[^\n]{0,40}\b(?:out of memory|memory (?:is )?(?:full|exhausted|exceeded))\b"
)

_GPUS = words(
    r"\bno (?:usable |available |visible )?(?:nvidia |cuda )?(?:gpus?|cuda(?:[- ]capable)? devices?)\b"
    r"|\bcuda (?:is )?(?:not available|unavailable|required)"
    r"|\bgpus?\b[^\n]{0,20}\b(?:required|needed|not (?:found|available|visible|detected))\b"
    r"|\b(?:needs?|requires?|ask(?:s|ed) for|requested|wants?|expect(?:s|ed))\b[^\n]{0,30}\bgpus?\b"
    r"|\bon (?:the |a )?cpus?\b[^\n]{0,20}\b(?:not supported|unsupported|not possible|impossible|not allowed)\b"
    r"|\bonly \d+ (?:gpus?|cuda devices?)\b"
)

_CHECKPOINT = words(
    # Not of torch.utils.checkpoint, which stores activations.
    rf"\b(?<!utils\.)(?:checkpoint|ckpt|state[_ ]dict|pre-?trained weights|snapshot)s?\b[^\n]{{0,100}}\b(?:{_MISSED}"
    rf"|{_ENDED}"
    r"|mismatch\w*|incompatible|unexpected|not present|(?:an)?other|different|written by|saved (?:by|with))\b"
    r"|\b(?:can ?not|could not|can't|unable to|failed to) (?:load|read|restore|resume|open|find)\b[^\n]{0,40}"
    r"\b(?:checkpoint|ckpt|state[_ ]dict|weights|snapshot)s?\b"
    r"|\b(?:missing|not found|not present|unexpected)\b[^\n]{0,40}\b(?:checkpoint|ckpt|state[_ ]dict)s?\b"
    r"|^(?!torch\.utils)[\w.]*Checkpoint\w*(?:Error|Exception|NotFound|Mismatch)\w*\b"
    r"|\bcheckpoint (?:being loaded|contains only)\b|\b(?:weight file containing|weights from file|saved (?:weights"
    r"|layers))\b"
    r"|^KeyError: 'pytorch-lightning_version'"
    r"|\bcan ?not resume\b|^KeyError: ['\"][\w.]*(?:state_dict|checkpoint)"
    # Weights in the containers of others: ONNX, Hugging Face.
    r"|\bload model from \S+ failed|Protobuf parsing failed|Error parsing message|ignore_mismatched_sizes"
    r"|^[\w.]*SafetensorError:"
    r"|no file named [^\n]* found in directory"
)

_GRID = r"(?:geometr(?:y|ies)|origins?|spacings?|affines?|orientations?)"
_FILES = r"(?:images|cases|masks|files|slices|volumes|scans|patients|subjects|annotations|segmentations)"
_GEOMETRY = words(
    rf"\b{_GRID}\b[^\n]{{0,160}}\b(?:mismatch\w*|differs?|different|do(?:es)? not (?:match|agree)|do(?:es)?n't match"
    r"|(?:is|are) not (?:the same|equal|aligned)|inconsistent)\b"
    rf"|\b(?:mismatch\w*|inconsistent|different)\b[^\n]{{0,30}}\b{_GRID}\b"
    rf"|\b(?:number|count)s? of (?:\w+ )?{_FILES}\b[^\n]{{0,80}}\b(?:{_FILES}|labels)\b[^\n]{{0,40}}"
    r"\b(?:mismatch\w*|differs?|do(?:es)? not match|not equal|unequal)\b"
    rf"|\bmismatch between (?:the )?numbers? of {_FILES}\b"
    r"|\bnot occupy the same physical space\b|\bmore than one value for \"?\w+\"? found in\b"
)
"""Images and masks that lie elsewhere in space, or are not the same in number, whatever their shapes."""

_FORMATS = r"tiff?|png|jpe?g|dicom|nifti|nrrd|zip|gzip|hdf5?|h5|parquet|npy|npz|mat(?:lab)?|csv|webp|bmp"
_SAMPLES = (
    r"samples?|images?|cases?|masks?|files?|slices?|volumes?|scans?|patients?|subjects?|annotations?|labels?|examples?"
)
_DATA = words(
    r"^[\w.]*(?:Corrupt|Truncat|Malformed|BadFile|BadImage|Tiff|Dicom|Nifti|Nrrd|Parquet)\w*:"
    r"|^zlib\.error:|^lmdb\.\w*Error:|^[\w.]*(?:Dataset(?:NotFound|Generation)|NonMatching)\w*Error\b"
    r"|^tarfile\.\w*Error:|^[\w.]*(?:LZMA|Zlib|Zstd|Gzip|Zip|(?-i:Tar)|Decompress)\w*(?:Error|Exception):"
    rf"|\b(?:not an?|invalid|bad|broken|unsupported|unknown) (?:valid )?(?:{_FORMATS})\b|\bmagic (?:bytes|numbers?)\b"
    rf"|\b(?:{_SAMPLES}|archives?|headers?|streams?|records?|data ?sets?)\b[^\n]{{0,40}}\b(?:{_ENDED})\b"
    rf"|\b(?:corrupt(?:ed)?|damaged|truncated|malformed|unreadable) (?:\w+ )?(?:{_SAMPLES}|archives?"
    rf"|headers?|streams?)\b"
    r"|\b(?:unsupported|unknown|missing) image (?:file )?(?:format|type)\b|\bunsupported (?:or missing )?image\b"
    r"|\bformat not recogni[sz]ed\b|\binvalid data found\b|\bunpack\w* requires a buffer\b|\bn_samples=0\b"
    r"|\bclass values must be\b"
    r"|\((?:NoSuchKey|404)\) when calling"
    r"|\b(?:could not|can ?not|can't|unable to|failed to) (?:read|decode|load|open|parse) (?:the |an? )?"
    r"(?:image|volume|scan|slice|mask|sample|header|video|frame|dicom|nifti)\b"
    # What OpenCV asserts of an image that imread did not find, and ITK's readers.
    r"|!\s*[\w.]+\.empty\(\)|Image(?:File|Series)Reader|\bImageIO\("
    # Tables without what is read of them.
    r"|\bcolumns?\b[^\n]{0,40}\b(?:not found|missing)\b|\bare in the \[columns\]"
    r"|\bempty (?:training|validation|test) (?:data|set|split)"
    # Samples without what is taken from them.
    r"|\b(?:keys?|fields?|extensions?)\b[^\n]{0,60}\b(?:missing|not found|not present|absent)\b[^\n]{0,30}"
    r"\b(?:sample|record|example|row|shard)\b|\bdid(?:n't| not) find \[[^\n]*\] in \["
    # Nothing to learn from.
    r"|Found array with 0 (?:sample|feature)"
    rf"|\bno (?:\w+ )?(?:{_SAMPLES}|data|data ?sets?|entries|items|pairs|shards?)\b[^\n]{{0,40}}"
    r"\b(?:found|left|in|under|match)\b"
    rf"|\b(?:could not|did not|couldn't|didn't|can ?not) find any (?:\w+ ){{0,2}}(?:{_SAMPLES}|data|entries|items"
    rf"|pairs)\b"
    rf"|\bfound (?:0|zero|no) (?:\w+ )?(?:{_SAMPLES}|data|entries|items|pairs|shards?)\b"
    rf"|\b(?:has|have) (?:0|zero|no) (?:\w+ )?(?:{_SAMPLES})\b"
    rf"|\b(?:{_SAMPLES}) have (?:errors|problems)\b"
    rf"|\b(?:{_SAMPLES})\b[^\n]{{0,30}}\b(?:ha(?:ve|s) no|without|(?:is|are) (?:missing|empty))\b"
    r"|\bdata ?set\b[^\n]{0,40}\b(?:incomplete|missing|empty|not found)\b"
    r"|\b(?:target|label|mask|class|ground truth)\w*\b[^\n]{0,80}"
    r"\b(?:but expected only|out of (?:range|bounds)|(?:unexpected|unknown|invalid) (?:value|class|label)s?)\b"
    # Annotations that lie nowhere.
    r"|\b(?:bbox|box|bboxes|boxes|keypoints?|landmarks?|polygons?)\b[^\n]{0,160}\b(?:in the range|out of (?:range"
    r"|bounds)|outside|positive (?:height|width|area)|less than or equal|degenerate)\b"
    r"|\binvalid (?:bounding )?box(?:es)?\b(?! (?:format|type|mode))"
    # A file that is not there, or not of its kind, among what is called data.
    r"|^(?:FileNotFound|IsADirectory|NotADirectory)Error\b[^\n]*'[^'\n]*\b(?:data|datasets?|images?(?:Tr|Ts)?"
    r"|labels?(?:Tr|Ts)?|masks?|annotations?|dicoms?|scans?|volumes?)\b[^'\n]*'"
    # What the program's own checks refuse.
    rf"|\b(?:refus(?:e|es|ing)|reject(?:s|ed|ing)?)\b[^\n]{{0,30}}\b(?:{_SAMPLES})\b"
)

_NUMBERS = (
    r"loss(?:es)?|gradients?|grads?|grad_norm|norm|metrics?|objective|reward|score|dice|weights?|parameters?|logits"
    r"|activations?|outputs?|predictions?|training"
)
_LOST = r"nan|(?<!, )inf(?!,)|non-?finite|not finite|infinite|infinity|diverg(?:ed|ing)|explod(?:ed|ing)|blew up"
_DIVERGED = words(
    rf"\b(?:{_NUMBERS})\b[^\n]{{0,80}}\b(?:{_LOST})\b|\b(?:{_LOST})\b[^\n]{{0,60}}\b(?:{_NUMBERS})\b"
    r"|^[\w.]*(?:NaN|NonFinite|NotFinite|Diverge|Explod|Explosion)\w*:"
)

_SHAPES = words(
    r"\bdifferent (?:spatial )?(?:shapes?|sizes?|dimensions?|lengths?|number of (?:channels|dimensions|elements))\b"
    r"|\b(?:heights?|widths?|shapes?|sizes?|dimensions?|lengths?|channels?)\b[^\n]{0,60}"
    r"\b(?:should|must|have to|need to) be (?:equal|the same|identical)\b|"
    r"\b(?:same|equal|matching|identical|compatible) (?:spatial )?(?:shapes?|sizes?|dimensions?|dims?"
    r"|lengths?|resolution"
    r"|number of (?:dimensions|samples|channels|elements|features|rows|columns|classes))\b"
    r"|\b(?:shapes?|sizes?|dimensions?|dims|lengths?|resolutions?|images|arrays|tensors|inputs?|masks?)\b[^\n]{0,80}"
    r"\b(?:do(?:es)? not|do(?:es)?n't|did not|didn't|can ?not be) (?:match|agree|broadcast|fit|align)"
    r"|\b(?:do(?:es)? not|did not|do(?:es)?n't|didn't) match\b[^\n]{0,60}\b(?:arrays?|ax[ie]s|shapes?"
    r"|sizes?|dimensions?)\b"
    r"|\bbroadcast\b[^\n]{0,80}\bshapes?\b"
    r"|\b(?:should|must) (?:contain|have|be of (?:size|length)) \d+\b[^\n]{0,40}\b(?:not|but|got|found)\b"
    r"|\b(?:shape|size|dimension|length|resolution)s? (?:mismatch|differs?|disagree)\b"
    r"|\b(?:invalid|unexpected|wrong|incompatible|inconsistent|mismatched) (?:\w+ )?(?:shapes?|dimensions?|dims)\b"
    r"|\b(?:features|channels|columns|dimensions)\b[^\n]{0,20}\bbut\b[^\n]{0,40}\bexpect(?:s|ed|ing)\b"
)

_CONFIG = words(
    r"^(?:FileNotFound|IsADirectory|NotADirectory)Error\b[^\n]*'[^'\n]*\b(?:conf(?:ig)?s?|cfgs?|settings)\b[^'\n]*'|"
    r"(?-i:\b[A-Z][A-Z0-9]*_[A-Z0-9_]+\b)['\"]?(?: (?:is|was|must be|has to be|needs to be|not|either|variable))+"
    r" (?:set|unset|empty|missing|undefined|defined|required|given)\b"
    r"|\b(?:access|api|auth\w*|bearer|login) (?:token|key)\b[^\n]{0,40}"
    r"\b(?:not found|missing|required|invalid|expired|not set|empty|rejected)\b"
    r"|\bno (?:api key|token|credentials|password)\b|\btoken is required\b|TokenNotFound"
    r"|\bcredentials?\b[^\n]{0,30}\b(?:not found|missing|required|invalid|expired|empty)\b"
    # Rights, and a folder that cannot be made.
    r"|\b(?:can ?not|can't|could not|couldn't|unable to|failed to|error) (?:creat|mak)(?:e|ing)\b[^\n]{0,40}"
    r"\b(?:director(?:y|ies)|folders?|dirs?)\b|\b(?:director(?:y|ies)|folder|dir|path)\b[^\n]{0,60}\bnot write?able\b"
    r"|\b(?:check|no|insufficient|missing|lacks?|without) (?:\w+ ){0,2}(?:permissions?|privileges)\b"
    r"|\[Errno 1\] Operation not permitted"
    r"|\b(?:user|you|client|account) (?:is |are )?not logged in\b|\bnot have (?:\w+ )?permissions?\b"
    r"|\boffline mode is enabled\b|\berror code:? 40[13]\b"
    r"|\b40[13]\b[^\n]{0,40}\b(?:unauthorized|forbidden)\b|HTTP Error 40[13]\b|\bstatus(?:[ _]code)?[:= ]+40[13]\b"
)

_NETWORK = words(
    r"\b(?:could ?n[o']t|could not|can ?not|can't|unable to|failed to) (?:be )?(?:connect|reach|resolve host)\w*\b"
    r"|\bcheck your (?:internet |network )?connection\b|\bcoordination (?:service|agent)\b|\bbarrier has failed\b"
    r"|\b(?:connection|server|socket|endpoint|host) (?:was |is |has been |has |were )?(?:closed|dropped|lost"
    r"|aborted|broken|disconnected|unreachable|timed out|interrupted)\b"
    r"|\b(?:initiali[sz]ation|request|download|upload|connect\w*|read|query) (?:operation )?(?:has |had )?timed out\b"
    r"|^(?:socket\.timeout|TimeoutError|urllib\.error\.URLError)\b[^\n]*\btimed out\b"
)

_SPACE = words(r"\bnot enough (?:free |disk |free disk )space\b|\bdisk (?:is )?full\b")

_MODULES = words(
    r"\b(?:requires?|needs?)\b[^\n]{0,60}\bto be installed\b|\b(?:package|library|module|dependency)\b[^\n]{0,40}"
    r"\bis not installed\b|\bpip install\b|\bconda install\b"
)

_REFUSED = r"invalid|unknown|unsupported|unrecognized|illegal|wrong"
_NAMED = (
    r"values?|options?|choices?|parameters?|settings?|strateg(?:y|ies)|modes?|models?|encoders?|backbones?|optimizers?"
    r"|loss(?:es)?|schedulers?|architectures?|precisions?|activations?|metrics?|weights|names?"
)
_PARAMS = words(
    r"^[\w.]*(?:Invalid|Bad|Unknown|Unsupported|NoMatching)\w*(?:Param|Option|Config|Choice|Module|Usage)\w*:"
    r"|^[\w.]*(?:Validation|Schema)Error:"
    rf"|\b(?:{_REFUSED}) (?:{_NAMED})\b|\b(?:{_REFUSED}) \w+ name\b"
    rf"|\bis not an? (?:valid|supported|recognized|known) \w+|\b(?:{_NAMED}) (?:is |are )?not (?:supported"
    rf"|implemented|recognized)"
    rf"|\b(?:{_NAMED}) [^\n]{{0,40}}\bnot found in (?:the )?(?:registry|list|choices)\b"
    rf"|^[\w.]+: Invalid (?:\w+ ){{0,2}}\w+: "
    # A value, and what it is compared with.
    r"|\b\w+=\S+[^\n]{0,40}\b(?:greater|less|larger|smaller|higher|lower|more|fewer) than\b"
    # A refusal, and then what there is.
    r"|\b(?:is|are) (?:not (?:an? )?(?:valid|supported|implemented|recognized|available|known)|invalid|unsupported"
    r"|unknown)\b[^\n]{0,80}\b(?:allowed|choose|select|one of|available|supported|use|options?|valid|choices)\b"
    rf"|\b(?:allowed|valid|available|supported|possible|permitted) (?:\w+ ){{0,2}}(?:{_NAMED})(?: are| is|:)"
    r"|\b(?:choose|select|pick|use|expected|must be|should be|has to be) (?:one|any|either) of\b"
    # A limit, and then what was given.
    r"|\b(?:must|should|ha(?:s|ve) to|needs?|expected)\b[^\n]{0,40}\b(?:positive|non-?negative|greater|less|at least"
    r"|at most|in (?:the )?(?:range|interval)|between|odd|even|power of|divisible|multiple of|smaller|larger)\b"
    r"[^\n]{0,80}\b(?:got|found|received|given|instead)\b"
    r"|\b(?!y_)[a-z]\w*_\w+ (?:should|must|has to|needs to) be (?:between|in (?:the )?(?:range|interval)|positive"
    r"|non-?negative|greater|less|at least|an? (?:int|float|odd|even|multiple))\b"
    r"|^[\w.]+: `?--[\w-]+`? (?:requires|must|can ?not|needs|should)\b|\bbatch related parameters\b"
    r"|\b(?:crop|patch|roi|tile|window)(?:[_ ]size)?\b[^\n]{0,60}\b(?:larger|greater|bigger|smaller|not exceed"
    r"|exceeds)\b"
    # A metric that is watched and that nobody logs, and what else Lightning takes for a wrong configuration.
    r"|\bmonitored key\b|^[\w.]*MisconfigurationException:"
    # Layers that a parameter names.
    r"|\b(?:modules?|layers?|blocks?)\b[^\n]{0,80}\bnot (?:found|present) in (?:the )?(?:\w+ )?model\b"
)

_FAMILIES: tuple[tuple[Reason, Words], ...] = (
    (Reason.CUDA_OUT_OF_MEMORY, _GPU_MEMORY),
    (Reason.GPU_SETUP, _GPUS),
    (Reason.DISK_FULL, _SPACE),
    (Reason.IMPORT_ERROR, _MODULES),
    (Reason.CHECKPOINT_ERROR, _CHECKPOINT),
    (Reason.DIVERGED, _DIVERGED),
    (Reason.DATA_ERROR, _GEOMETRY),  # before shapes: it tells of them too
    (Reason.SHAPE_MISMATCH, _SHAPES),  # before data: "masks of another size" is no fault of a file
    (Reason.DATA_ERROR, _DATA),
    (Reason.CONFIG_ERROR, _CONFIG),
    (Reason.INFRASTRUCTURE, _NETWORK),  # after credentials that are refused
    (Reason.INVALID_PARAMS, _PARAMS),
)


def by_family(e: Evidence) -> Diagnosis | None:
    """The first family that an exception belongs to by its words, else by its place, the root cause first; of a text
    without one that of its last words."""
    chain = fatal(e.text) if e.text else ()
    if not chain:
        return _by_words(e, "", last_words(e.text))
    for one in chain:
        kind = one.kind.rpartition(".")[2]
        if kind not in _BUGS and (found := _by_words(e, kind, one.statement) or by_place(e, kind, one)) is not None:
            return found
    return None


def _by_words(e: Evidence, kind: str, text: str) -> Diagnosis | None:
    for reason, pattern in _FAMILIES:
        if kind in _ALSO_BUGS and reason != Reason.SHAPE_MISMATCH:
            continue
        if (found := said(e, text, reason, pattern)) is not None:
            return found
    return None
