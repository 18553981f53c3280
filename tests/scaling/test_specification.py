"""What a scaling report is asked for, and what is refused."""

import pytest

from mednext_cli.foundation.errors import SettingsError
from mednext_cli.scaling.specification import ScaleReportSpec


def test_a_kernel_that_no_network_has_is_refused_with_those_there_are() -> None:
    with pytest.raises(SettingsError, match=r"kernel 4 is not possible\. Give 3, 5 or 7"):
        ScaleReportSpec(kernels=(3, 4))
