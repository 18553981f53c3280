"""The columns of operators.csv."""

from mednext_cli.foundation.columns import Column, Table

OPERATORS = Table(
    "operators.csv",
    "One row per candidate of each distinct block of a network, by `mednext doctor --operators`: "
    "forward, with gradients unless for prediction, at the true size, on this device. Candidates "
    "take turns; times are medians.",
    (
        Column("device", "GPU or processor."),
        Column("precision", "Number format of the forward pass."),
        Column(
            "block",
            "Kind, channels of input, expansion and output, kernel, and voxels of the input.",
        ),
        Column("blocks", "Blocks of the network that are alike."),
        Column(
            "operators",
            "How it was run: pytorch; arranged (pytorch, for CPUs); triton, with other tiles after "
            "the colon; tensor_cores.",
        ),
        Column("layout", "Of images and weights in memory."),
        Column("cudnn_benchmark", "Whether cuDNN tried its algorithms."),
        Column("threads", "Of the CPU; empty on a GPU."),
        Column("milliseconds", "Of all images of the batch.", "ms"),
        Column("spread_milliseconds", "Half the distance between the quartiles.", "ms"),
        Column("teraflops", "Arithmetic of the convolutions, a second.", "TFLOP/s"),
        Column(
            "gigabytes_per_second",
            "Traffic that no way can do without: input and output once, and their gradients.",
            "GB/s",
        ),
        Column(
            "roofline_share",
            "Of the speed that this device reached in a large product of matrices of this "
            "precision, or in a large copy, whichever limits the block.",
            "0 to 1",
        ),
        Column(
            "deviation",
            "Largest relative L2 distance of output or a gradient to float32 without TF32.",
        ),
        Column("chosen", "Whether operators = auto takes it: yes or no."),
        Column("struck_out", "Why it cannot be taken; empty where it could be."),
    ),
    digits=4,
)
