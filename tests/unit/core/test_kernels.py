"""What a GPU's kernel said before it died counts more than where the program noticed."""

from __future__ import annotations

import pytest

from orkhaven.core.failures import Evidence, classify, fingerprint, suggestion

RANGE = (
    "/pytorch/aten/src/ATen/native/cuda/Loss.cu:245: nll_loss_forward_reduce_cuda_kernel_2d: block: [0,0,0], "
    "thread: [{thread},0,0] Assertion `t >= 0 && t < n_classes` failed."
)
NAN = (
    "/pytorch/aten/src/ATen/native/cuda/TensorCompare.cu:109: _assert_async_cuda_kernel: block: [0,0,0], "
    "thread: [0,0,0] Assertion `probability tensor contains either `inf`, `nan` or element < 0` failed."
)


def said(*lines: str, exception: str, where: str = "train_step") -> Evidence:
    trace = f'Traceback (most recent call last):\n  File "/app/train.py", line 7, in {where}\n    x\n{exception}'
    return Evidence(exit_code=1, text="\n".join((*lines, trace)))


ASSERT = "torch.AcceleratorError: CUDA error: device-side assert triggered"
CASES = {
    "its exception": (said(RANGE.format(thread=3), exception=ASSERT), "CudaError"),
    "cuBLAS, which can start no more": (
        said(RANGE.format(thread=3), exception="RuntimeError: CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling x"),
        "CudaError",
    ),
    "cuBLAS without it": (
        said(exception="RuntimeError: CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        "CudaOutOfMemory",
    ),
    "a check for NaN": (said(NAN, exception=ASSERT), "Diverged"),
    "something else that came later": (said(RANGE.format(thread=3), exception="KeyError: 'dice'"), "UserException"),
    "an assertion of C's": (said("a.c:12: main: Assertion `x > 0' failed.", exception=ASSERT), "CudaError"),
    "any other error of CUDA's": (
        said(exception="torch.AcceleratorError: CUDA error: operation not supported on global/shared address space"),
        "CudaError",
    ),
    "an error that CUDA does not know": (said(exception="RuntimeError: CUDA error: unknown error"), "UserException"),
}


@pytest.mark.parametrize(("evidence", "reason"), CASES.values(), ids=CASES)
def test_the_cause_of_a_kernels_death(evidence: Evidence, reason: str) -> None:
    assert classify(evidence).reason == reason


def cluster(evidence: Evidence) -> str:
    found = classify(evidence)
    return fingerprint(found.reason, found.message, evidence).id


def test_which_of_its_threads_failed_is_chance_but_not_which_check() -> None:
    one, other = (said(RANGE.format(thread=thread), exception=ASSERT) for thread in (3, 17))
    assert cluster(one) == cluster(other)
    check = RANGE.format(thread=3).replace("t >= 0 && t < n_classes", "input_val >= zero && input_val <= one")
    assert cluster(said(check, exception=ASSERT)) != cluster(one)


def test_the_advice_says_what_did_not_hold() -> None:
    evidence = said(RANGE.format(thread=3), exception=ASSERT)
    found = classify(evidence)
    assert found.message == "nll_loss_forward_reduce_cuda_kernel_2d: Assertion `t >= 0 && t < n_classes` failed"
    assert "t >= 0 && t < n_classes does not hold in nll_loss" in suggestion(found.reason, found.message, evidence)
    assert "CUDA_LAUNCH_BLOCKING" in suggestion("CudaError", "x", said(exception=ASSERT))


def test_a_gpu_that_was_given_and_is_not_seen_is_the_nodes() -> None:
    text = "cudaErrorNoDevice: no CUDA-capable device is detected"
    assert classify(Evidence(exit_code=1, text=text, gpus=1)).reason == "GpuHardware"
    assert classify(Evidence(exit_code=1, text=text)).reason == "GpuSetup"
