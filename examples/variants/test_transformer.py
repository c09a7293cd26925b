"""Which variant of a model is worth its joules: ``pytest --energy examples/variants`` measures them in turn."""

import pytest

torch = pytest.importorskip("torch", reason="pip install 'pytest-joules[torch]'")

from transformer import ITEMS, sequences, variant  # noqa: E402


@pytest.fixture(scope="module")
def model(request):
    return request.param, variant(request.param)


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")  # of torch.ao
@pytest.mark.energy_variants("model", reference="fp32")
@pytest.mark.parametrize("model", ["fp32", "int8", "bf16", "pruned-1", "pruned-3", "half-context"], indirect=True)
def test_majority(model, energy):
    name, network = model
    words, more = sequences(ITEMS, seed=7)
    if name == "half-context":
        words = words[:, : words.shape[1] // 2]
    with torch.inference_mode():
        right = network(words) == more
    energy.work(sequences=ITEMS)
    energy.score(accuracy=right.int().tolist(), higher_is_better=True)
    assert len(right) == ITEMS
