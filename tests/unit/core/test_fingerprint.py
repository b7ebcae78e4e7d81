"""What makes two failures the same: stable over restarts, edits, libraries, ranks and cut logs."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orkhaven.api import Reason
from orkhaven.core.failures import Evidence, Record, fingerprint
from orkhaven.core.failures.mask import mask
from orkhaven.core.failures.traces import fatal

MASKED = {
    "a shape": ("mat1 and mat2 (4x512 and 256x2)", "mat# and mat# (# and #)"),
    "sizes of torch": ("Tried to allocate 2.87 GiB (GPU 0; 14.76 GiB total", "Tried to allocate <size> (GPU "
    "#; <size> total"),
    "a path with a space": ("No such file or directory: '/data/ct/case 12.nii.gz'", "No such file or "
    "directory: '<path>'"),
    "errno stays": ("[Errno 28] No space left: '/out/a.pt'", "[Errno 28] No space left: '<path>'"),
    "an exit code stays": ("ended with exit code 137", "ended with exit code 137"),
    "a status of HTTP stays": ("503 Server Error for url: https://x.y/z?a=1", "503 Server Error for url: <url>"),
    "the number of an Xid stays": ("NVRM: Xid (PCI:0000:44:00): 79, pid=1234", "NVRM: Xid (<gpu>): 79, pid=#"),
    "a module's name stays": ("No module named 'monai.networks'", "No module named 'monai.networks'"),
    "a metric's name stays": ("val/dice_case is nan at step 12", "val/dice_case is nan at step #"),
    "an address": ("<Tensor object at 0x7fe11bd4ddb0>", "<Tensor object at <hex>>"),
    "a time": ("2026-03-01T12:00:03.123Z lost", "<time> lost"),
    "a uuid": ("run 0e1c9a1e-7b0f-4c2b-9d55-1f6f0b2d3c4a", "run <uuid>"),
    "a host with a port": ("connect to trainer-0.trainer:29500", "connect to <host>"),
    "an address of a network": ("connect to 10.0.3.17:29500", "connect to <host>"),
    "a list of numbers": ("torch.Size([64, 32, 5])", "torch.Size([#])"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "masked"), MASKED.values(), ids=MASKED)
def test_what_varies_is_masked(text: str, masked: str) -> None:
    assert mask(text) == masked


@given(st.integers(0, 10**9), st.integers(0, 10**9), st.floats(0, 1e6), st.integers(1, 10**6))
def test_numbers_make_no_difference(a: int, b: int, size: float, step: int) -> None:
    def text(a: int, b: int, size: float, step: int) -> str:
        return (
            f"step {step}: tensor a ({a}) must match b ({b}); tried {size:.2f} GiB at 0x{a:012x} in /data/{b}/x{a}.npy"
        )

    assert mask(text(a, b, size, step)) == mask(text(1, 2, 3.0, 4))


@given(st.text(max_size=200))
@settings(max_examples=200)
def test_any_text_can_be_masked_and_read(text: str) -> None:
    assert len(mask(text)) <= len(text) * 9 + 10
    fatal(text)
    assert len(fingerprint(Reason.USER_EXCEPTION, "x", Evidence(text=text)).id) == 8


# --- texts of one bug -------------------------------------------------------------------------------------------------

PLAIN = """Traceback (most recent call last):
  File "/app/train.py", line 88, in <module>
    main()
  File "/app/models/unet.py", line 31, in forward
    x = self.up(x) + skip
  File "/opt/venv/lib/python3.11/site-packages/torch/nn/modules/module.py", line 1739, in _call_impl
    return forward_call(*args, **kwargs)
RuntimeError: The size of tensor a (512) must match the size of tensor b (256) at non-singleton dimension 3
"""
SAME = {
    "other numbers": PLAIN.replace("512", "128").replace("(256)", "(64)"),
    "another line": PLAIN.replace("line 31", "line 44"),
    "another folder of the image": PLAIN.replace("/app/", "/workspace/code/"),
    "another library underneath": PLAIN.replace("python3.11", "python3.13").replace("nn/modules/module", "nn/mod"),
    "other lines in between": PLAIN.replace("    main()\n", "    main()\nEpoch 3  10%|█   | 3/30\n"),
    "a log before it": "step 1 loss 0.3\nstep 2 loss 0.2\n" + PLAIN,
    "cut off at its beginning": PLAIN[PLAIN.index("    main()") :],
    "one of several ranks": "".join(f"[rank{rank}]: {line}\n" for rank in (1, 0) for line in PLAIN.splitlines()),
    "ranks that write at the same time": "".join(f"[rank{r}]: {line}\n" for line in PLAIN.splitlines() for r in (0, 3)),
    "torchrun's summary after it": PLAIN
    + """Traceback (most recent call last):
  File "/opt/venv/bin/torchrun", line 8, in <module>
    sys.exit(main())
torch.distributed.elastic.multiprocessing.errors.ChildFailedError:
============================================================
train.py FAILED
""",
    "a rank that lost its peer": "".join(f"[rank1]: {line}\n" for line in PLAIN.splitlines())
    + """[rank0]: Traceback (most recent call last):
[rank0]:   File "/app/train.py", line 90, in sync
[rank0]: torch.distributed.DistBackendError: NCCL error: remote process exited or there was a network error
""",
    "a time before each line": "".join(
        f"2026-03-01T12:00:0{i % 10}Z {line}\n" for i, line in enumerate(PLAIN.splitlines())
    ),
    "handled badly": PLAIN
    + """
During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "/app/train.py", line 95, in <module>
    log(step)
NameError: name 'step' is not defined
""",
    "brought by a worker": 'Traceback (most recent call last):\n  File "/app/train.py", line 2, in <module>\n'
    "RuntimeError: Caught RuntimeError in DataLoader worker process 3.\nOriginal " + PLAIN,
    "brought by a process": "torch.multiprocessing.spawn.ProcessRaisedException: \n\n-- Process 1 terminated with the "
    "following error:\n" + PLAIN,
}  # fmt: skip


@pytest.mark.parametrize("text", SAME.values(), ids=SAME)
def test_one_bug_has_one_fingerprint(text: str) -> None:
    assert of(text) == of(PLAIN)


OTHER = {
    "another exception": PLAIN.replace("RuntimeError", "ValueError"),
    "another message": PLAIN.replace("must match", "has to match"),
    "another function of the project": PLAIN.replace("in forward", "in encode"),
    "another file of the project": PLAIN.replace("models/unet.py", "models/swin.py"),
}


@pytest.mark.parametrize("text", OTHER.values(), ids=OTHER)
def test_another_bug_has_another_fingerprint(text: str) -> None:
    assert of(text) != of(PLAIN)


def of(text: str) -> str:
    return fingerprint(Reason.SHAPE_MISMATCH, "x", Evidence(text=text)).id


@given(st.integers(0, len(PLAIN) - 190), st.randoms(use_true_random=False))
def test_a_log_may_be_cut_anywhere_before_the_last_frame_of_the_project(cut: int, rng: random.Random) -> None:
    last = PLAIN.rindex('  File "/app')
    noise = "".join(f"step {rng.random()}\n" for _ in range(rng.randrange(3)))
    assert of(noise + PLAIN[min(cut, last) :]) == of(PLAIN)


READ = {
    "C++": (
        "terminate called after throwing an instance of 'c10::Error'\n  what():  CUDA error: device-side "
        "assert triggered\n",
        "c10::Error: CUDA error: device-side assert triggered",
    ),
    "the fault handler": (
        "Fatal Python error: Segmentation fault\n\nCurrent thread 0x00007f1 (most recent call first):\n"
        '  File "/usr/lib/python3.11/ctypes/__init__.py", line 519 in string_at\n  File "/app/x.py", line 5 in kernel\n'
        '  File "/app/x.py", line 9 in <module>\n',
        "Fatal Python error: Segmentation fault (x.py kernel)",
    ),
    "a pool": (
        'multiprocessing.pool.RemoteTraceback: \n"""\nTraceback (most recent call last):\n'
        '  File "/app/p.py", line 4, in f\n'
        '    return 1 / x\nZeroDivisionError: division by zero\n"""\n\nThe above exception was the direct cause of the '
        'following exception:\n\nTraceback (most recent call last):\n  File "/app/p.py", line 8, in <module>\n'
        "ZeroDivisionError: division by zero\n",
        "ZeroDivisionError: division by zero (p.py f)",
    ),
    "no traceback": (
        "epoch 3\nERROR: cannot check out a licence from lic-7:27000\n=====\n",
        "ERROR: cannot check out a licence from <host>",
    ),
    "a bare exception": ("RuntimeError: no shard 12 for rank 3\n", "RuntimeError: no shard # for rank #"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "signature"), READ.values(), ids=READ)
def test_what_a_signature_says(text: str, signature: str) -> None:
    assert fingerprint(Reason.USER_EXCEPTION, "x", Evidence(text=text)).signature == signature


def test_memory_is_one_cause_wherever_it_runs_out() -> None:
    ids = {
        fingerprint(Reason.CUDA_OUT_OF_MEMORY, text, Evidence(text=text)).id
        for text in (PLAIN, "CUDA out of memory. Tried to allocate 2 GiB", "CUBLAS_STATUS_ALLOC_FAILED")
    }
    assert len(ids) == 1


@pytest.mark.parametrize("reason", [Reason.STALLED, Reason.HUNG_AT_START, Reason.VOLUME_TIMEOUT])
def test_a_hang_is_one_cause_wherever_and_however_long_nothing_was_heard(reason: Reason) -> None:
    said = ("nothing in 45 s on node a", "nothing in 3 h 20 min on node gpu-17.lab", "nothing in 12 min on node n1")
    last = (Evidence(text="epoch 3"), Evidence(text="Error: retrying"), None)
    ids = {fingerprint(reason, what, seen).id for what, seen in zip(said, last, strict=True)}
    assert len(ids) == 1


def test_a_sentence_of_the_contract_counts_as_it_stands() -> None:
    record = Record(
        outcome="Failed", failure_type="orkrun.InvalidParams", failure_message="loss.gamma: -2.0 is below 0"
    )
    evidence = Evidence(record=record, text="KeyError: 'x'\norkrun.InvalidParams: loss.gamma: -2.0 is below 0")
    assert fingerprint(Reason.INVALID_PARAMS, "", evidence).signature == "InvalidParams: loss.gamma: # is below #"


def test_a_node_is_no_part_of_it() -> None:
    def on(node: str) -> str:
        return fingerprint(Reason.CONFIG_ERROR, f"no device on node {node}", Evidence(node=node)).id

    assert on("gpu-alpha") == on("worker-17.example")
