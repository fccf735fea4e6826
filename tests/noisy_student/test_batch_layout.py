import numpy as np
import pytest
import tensorflow as tf

from noisy_student import losses
from noisy_student.batch_layout import Layout


def test_numbers_by_hand():
    """6 labeled and 12 unlabeled images, in 3 parts on 2 replicas."""
    layout = Layout(labeled=6, unlabeled=12, replicas=2, micro_batches=3)
    assert layout.total == 18 and not layout.is_padded
    assert (layout.labeled_rows, layout.unlabeled_rows) == (1, 2)
    np.testing.assert_array_equal(layout.share().numbers, [0, 6, 7])
    np.testing.assert_array_equal(layout.share(1, 0).numbers, [1, 8, 9])
    np.testing.assert_array_equal(layout.share(0, 2).numbers, [4, 14, 15])
    np.testing.assert_array_equal(layout.share(1, 2).numbers, [5, 16, 17])


def test_fewer_labeled_images_than_replicas_by_hand():
    """3 labeled images on 4 replicas: the last one repeats the first image, not counting it."""
    layout = Layout(labeled=3, unlabeled=4, replicas=4)
    assert layout.is_padded and layout.labeled_rows == 1
    rows = [layout.share(replica).numbers.numpy().tolist() for replica in range(4)]
    assert rows == [[0, 3], [1, 4], [2, 5], [0, 6]]
    assert [layout.share(replica).mask.numpy().tolist() for replica in range(4)] == [
        [1],
        [1],
        [1],
        [0],
    ]


@pytest.mark.parametrize(
    "layout", [Layout(6, 12, 2, 3), Layout(8, 0, 4), Layout(4, 8), Layout(3, 4, 4)]
)
def test_runs_are_the_parts_of_the_numbers_that_count_up(layout):
    if layout.is_padded:
        assert layout.runs is None
        return
    for replica in range(layout.replicas):
        for micro_batch in range(layout.micro_batches):
            numbers = layout.share(replica, micro_batch).numbers.numpy()
            assert sum(layout.runs) == len(numbers) and all(layout.runs)
            for run in np.split(numbers, np.cumsum(layout.runs)[:-1]):
                np.testing.assert_array_equal(np.diff(run), 1)


@pytest.mark.parametrize("hosts", [1, 2])
@pytest.mark.parametrize("labeled", [8, 3])
def test_hosts_hand_out_the_numbered_rows(hosts, labeled):
    layout = Layout(labeled=labeled, unlabeled=8, replicas=4)
    whole = {
        "labels": np.arange(labeled, dtype=np.int32),
        "unlabeled_images": labeled + np.arange(8, dtype=np.int32)[:, None],
        "probabilities": labeled + np.arange(8, dtype=np.float32)[:, None],
    }
    handed_out = []
    for host in range(hosts):
        rows = whole
        if not layout.is_padded:
            rows = {name: np.split(column, hosts)[host] for name, column in whole.items()}
        handed_out += layout.per_replica(tf.data.Dataset.from_tensors(rows), hosts, host)
    assert len(handed_out) == 4
    for replica, batch in enumerate(handed_out):
        numbers = layout.share(replica).numbers
        np.testing.assert_array_equal(
            tf.concat([batch["labels"], batch["unlabeled_images"][:, 0]], 0), numbers
        )
        np.testing.assert_array_equal(batch["probabilities"][:, 0], numbers[layout.labeled_rows :])


def test_masked_shares_sum_to_the_loss_of_the_global_batch():
    layout = Layout(labeled=3, unlabeled=4, replicas=4)
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(7, 5)).astype("float32")
    labels = np.array([4, 0, 2], np.int32)
    targets = rng.dirichlet(np.ones(5), 4).astype("float32")
    variable = tf.Variable([1.0, 2.0])
    config = losses.LossConfig(ratio=2.0, label_smoothing=0.0, weight_decay=0.1)
    totals, accuracies = [], []
    for replica in range(4):
        share = layout.share(replica)
        row, other = share.numbers.numpy()
        labeled, true = logits[row : row + 1], labels[row : row + 1]
        total, metrics = losses.student_loss(
            labeled,
            true,
            logits[other : other + 1],
            targets[other - 3 : other - 2],
            decayed_variables=[variable],
            config=config,
            share=share,
        )
        totals.append(total)
        accuracies.append([metrics["labeled_accuracy"], metrics["labeled_confidence"]])
    log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    labeled = -log_p[[0, 1, 2], labels].mean()
    unlabeled = -(targets * log_p[3:]).sum(1).mean()
    np.testing.assert_allclose(sum(totals), labeled + 2 * unlabeled + 0.1 * 2.5, rtol=1e-6)
    accuracy, confidence = np.sum(accuracies, axis=0)
    np.testing.assert_allclose(accuracy, (log_p[:3].argmax(1) == labels).mean(), rtol=1e-6)
    np.testing.assert_allclose(confidence, np.exp(log_p[:3].max(1)).mean(), rtol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((8, 10, 4, 1), "batch_size = 10 cannot be split evenly over 4 replicas"),
        ((8, 12, 2, 4), "over 2 replicas and 4 accumulated steps"),
        ((10, 0, 1, 4), "batch_size=10 cannot be split evenly into --accumulate_steps=4"),
    ],
)
def test_uneven_batches_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Layout(*arguments)
