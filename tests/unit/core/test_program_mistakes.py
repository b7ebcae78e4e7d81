"""What Python, torch, NumPy, JAX and others say of mistakes in programs: no other cause, however wide families are."""

from __future__ import annotations

import pytest

from orkhaven.core.failures import Evidence, classify

MISTAKES = (
    "RuntimeError: Trying to backward through the graph a second time (or directly access saved tensors "
    "after they have already been freed).",
    "RuntimeError: one of the variables needed for gradient computation has been modified by an inplace "
    "operation: [torch.cuda.FloatTensor [4]] is at version 2; expected version 1 instead.",
    "RuntimeError: element 0 of tensors does not require grad and does not have a grad_fn",
    "RuntimeError: Expected all tensors to be on the same device, but found at least two devices, cuda:0 and cpu!",
    "RuntimeError: Input type (torch.cuda.FloatTensor) and weight type (torch.FloatTensor) should be the same",
    "RuntimeError: expected scalar type Half but found Float",
    "RuntimeError: \"slow_conv2d_cpu\" not implemented for 'Half'",
    "RuntimeError: view size is not compatible with input tensor's size and stride (at least one "
    "dimension spans across two contiguous subspaces). Use .reshape(...) instead.",
    "RuntimeError: a leaf Variable that requires grad is being used in an in-place operation.",
    "RuntimeError: grad can be implicitly created only for scalar outputs",
    "RuntimeError: Only Tensors of floating point and complex dtype can require gradients",
    "RuntimeError: result type Float can't be cast to the desired output type Long",
    "RuntimeError: Can't call numpy() on Tensor that requires grad. Use tensor.detach().numpy() instead.",
    "RuntimeError: Boolean value of Tensor with more than one value is ambiguous",
    "RuntimeError: Expected to have finished reduction in the prior iteration before starting a new one. "
    "This error indicates that your module has parameters that were not used in producing loss.",
    "RuntimeError: Expected to mark a variable ready only once.",
    "RuntimeError: DataLoader worker (pid(s) 1234) exited unexpectedly",
    "RuntimeError: Cannot re-initialize CUDA in forked subprocess. To use CUDA with multiprocessing, you "
    "must use the 'spawn' start method",
    "RuntimeError: context has already been set",
    "RuntimeError: An attempt has been made to start a new process before the current process has "
    "finished its bootstrapping phase.",
    "RuntimeError: Default process group has not been initialized, please make sure to call init_process_group.",
    "RuntimeError: torch.cat(): expected a non-empty list of Tensors",
    "RuntimeError: unscale_() has already been called on this optimizer since the last update().",
    "RuntimeError: dictionary changed size during iteration",
    "RuntimeError: can't start new thread",
    "RuntimeError: There is no current event loop in thread 'Thread-1'.",
    "RuntimeError: cannot schedule new futures after shutdown",
    "RuntimeError: stack is empty",
    "RuntimeError: Expected tensor for argument #1 'indices' to have one of the following scalar types: "
    "Long, Int; but got torch.FloatTensor instead",
    "RuntimeError: _share_filename_: only available on CPU",
    "RuntimeError: No active exception to reraise",
    "RuntimeError: Numpy is not available",
    "RuntimeError: PassManager::run failed",
    "ValueError: too many values to unpack (expected 2)",
    "ValueError: not enough values to unpack (expected 3, got 2)",
    "ValueError: invalid literal for int() with base 10: 'abc'",
    "ValueError: could not convert string to float: 'a'",
    "ValueError: math domain error",
    "ValueError: list.remove(x): x not in list",
    "ValueError: The truth value of an array with more than one element is ambiguous. Use a.any() or a.all()",
    "ValueError: max() arg is an empty sequence",
    "ValueError: I/O operation on closed file.",
    "ValueError: assignment destination is read-only",
    "ValueError: can't optimize a non-leaf Tensor",
    "ValueError: some parameters appear in more than one parameter group",
    "ValueError: optimizer got an empty parameter list",
    "ValueError: Sample larger than population or is negative",
    "ValueError: a must be 1-dimensional",
    "ValueError: unconverted data remains: 12",
    "ValueError: substring not found",
    "ValueError: Circular reference detected",
    "ValueError: At least one stride in the given numpy array is negative, and tensors with negative "
    "strides are not currently supported.",
    "ValueError: Classification metrics can't handle a mix of binary and continuous targets",
    "ValueError: Target is multiclass but average='binary'. Please choose another average setting, one "
    "of [None, 'micro', 'macro', 'weighted'].",
    "ValueError: Cannot set a DataFrame with multiple columns to the single column a",
    "ValueError: cannot reindex on an axis with duplicate labels",
    "ValueError: Unable to create tensor, you should probably activate truncation and/or padding with "
    "'padding=True' 'truncation=True'",
    "KeyError: 'x'",
    "KeyError: 17",
    "KeyError: 'image_path'",
    "KeyError: 'loss'",
    "IndexError: list index out of range",
    "IndexError: index 10 is out of bounds for axis 0 with size 10",
    "IndexError: too many indices for array: array is 2-dimensional, but 3 were indexed",
    "IndexError: index out of range in self",
    "IndexError: tensors used as indices must be long, byte or bool tensors",
    "IndexError: pop from empty list",
    "StopIteration",
    "AssertionError",
    "AssertionError: Torch not ready",
    "AssertionError: expected loop to be done",
    "AttributeError: 'NoneType' object has no attribute 'shape'",
    "AttributeError: 'Dataset' object has no attribute 'image_paths'",
    "AttributeError: 'DistributedDataParallel' object has no attribute 'predict'",
    "TypeError: 'NoneType' object is not iterable",
    "TypeError: 'int' object is not subscriptable",
    "TypeError: forward() missing 1 required positional argument: 'mask'",
    "TypeError: expected str, bytes or os.PathLike object, not NoneType",
    "TypeError: can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() to copy the tensor to "
    "host memory first.",
    "TypeError: default_collate: batch must contain tensors, numpy arrays, numbers, dicts or lists; "
    "found <class 'NoneType'>",
    "TypeError: Object of type float32 is not JSON serializable",
    "NameError: name 'np' is not defined",
    "UnboundLocalError: cannot access local variable 'loss' where it is not associated with a value",
    'NotImplementedError: Module [Net] is missing the required "forward" function',
    "NotImplementedError",
    "RecursionError: maximum recursion depth exceeded",
    "_pickle.PicklingError: Can't pickle <function <lambda> at 0x7f>: attribute lookup <lambda> on __main__ failed",
    "OSError: [Errno 22] Invalid argument",
    "OSError: [Errno 24] Too many open files",
    "FileExistsError: [Errno 17] File exists: '/output/x'",
    "OSError: [Errno 39] Directory not empty: '/output/tmp'",
    "OSError: [Errno 36] File name too long: 'xxxxxxxxx'",
    "subprocess.TimeoutExpired: Command 'x' timed out after 10 seconds",
    "queue.Empty",
    "asyncio.exceptions.CancelledError",
    "torch.utils.checkpoint.CheckpointError: torch.utils.checkpoint: A different number of tensors was "
    "saved during the original forward and recomputation.",
    "torch.utils.checkpoint.CheckpointError: torch.utils.checkpoint: Recomputed values for the following "
    "tensors have different metadata than during the forward pass.",
    "torch._dynamo.exc.Unsupported: call_function BuiltinVariable(print)",
    "torch._dynamo.exc.InternalTorchDynamoError: 'NoneType' object has no attribute 'x'",
    "tensorflow.python.framework.errors_impl.FailedPreconditionError: Could not find variable "
    "dense/kernel. This could mean that the variable has been deleted.",
    "tensorflow.python.framework.errors_impl.InvalidArgumentError: You must feed a value for placeholder "
    "tensor 'x' with dtype float",
    "jax.errors.TracerBoolConversionError: Attempted boolean conversion of traced array with shape bool[].",
    "jax.errors.ConcretizationTypeError: Abstract tracer value encountered where concrete value is expected",
    "jax.errors.UnexpectedTracerError: Encountered an unexpected tracer.",
    "pandas.errors.MergeError: No common columns to perform merge on.",
    "pandas.errors.InvalidIndexError: Reindexing only valid with uniquely valued Index objects",
    "sklearn.exceptions.NotFittedError: This StandardScaler instance is not fitted yet. Call 'fit' with "
    "appropriate arguments before using this estimator.",
    "numpy.linalg.LinAlgError: Singular matrix",
    "ValueError: Input image should be between 0 and 1",
    "RuntimeError: cudnn RNN backward can only be called in training mode",
    "RuntimeError: Parent directory /output/x does not exist.",
    "RuntimeError: The server is busy training",
    "ValueError: The window size is what it is",
    "ValueError: cell (2, 3) belongs to another origin",
    "RuntimeError: metric 'dice' is not ready",
    "RuntimeError: this step needs the loss to be computed first",
    "RuntimeError: no such layer is registered in the model",
    "matplotlib.units.ConversionError: Failed to convert value(s) to axis units",
    "RuntimeError: main thread is not in main loop",
    "mylib.StepError: step 3 of plan B went wrong",
)


@pytest.mark.parametrize("statement", MISTAKES)
def test_a_mistake_in_a_program_is_no_other_cause(statement: str) -> None:
    text = (
        'Traceback (most recent call last):\n  File "/app/train.py", line 9, in <module>\n    main()\n'
        f'  File "/opt/venv/lib/python3.12/site-packages/lib/core.py", line 2, in run\n    x\n{statement}'
    )
    assert classify(Evidence(exit_code=1, text=text)).reason == "UserException"
