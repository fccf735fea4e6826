"""Placement of the images of one update: in which micro-batch, on which replica, in which row.

The images of an update are numbered, the labeled ones first. Their noise depends only on these
numbers. There is one micro-batch, unless gradients are accumulated. Every replica has the same
number of rows in a micro-batch. If the labeled images do not divide evenly, some are repeated and
masked: they do not count in the loss, although batch norm sees them.
"""

from dataclasses import dataclass

import tensorflow as tf


@dataclass(frozen=True)
class Layout:
    """Sizes of one update.

    Raises:
        ValueError: the images cannot be split evenly.
    """

    labeled: int  # labeled images of an update
    unlabeled: int  # unlabeled images of an update, 0 or more
    replicas: int = 1  # number of replicas, which share every micro-batch
    micro_batches: int = 1  # number of micro-batches of an update

    def __post_init__(self) -> None:
        if self.labeled % self.micro_batches:
            raise ValueError(
                f"--batch_size={self.labeled} cannot be split evenly into "
                f"--accumulate_steps={self.micro_batches} micro-batches."
            )
        if self.unlabeled % self.num_shares:
            raise ValueError(
                f"--ratio * --batch_size = {self.unlabeled} cannot be split evenly over "
                f"{self.replicas} replicas and {self.micro_batches} accumulated steps."
            )

    @property
    def total(self) -> int:
        """Images of an update."""
        return self.labeled + self.unlabeled

    @property
    def num_shares(self) -> int:
        """Number of shares of an update: replicas times micro-batches."""
        return self.replicas * self.micro_batches

    @property
    def micro_labeled(self) -> int:
        """Labeled images of a micro-batch, on all replicas."""
        return self.labeled // self.micro_batches

    @property
    def micro_unlabeled(self) -> int:
        """Unlabeled images of a micro-batch, on all replicas."""
        return self.unlabeled // self.micro_batches

    @property
    def labeled_rows(self) -> int:
        """Labeled rows of a micro-batch on one replica, including repeated ones."""
        return -(-self.micro_labeled // self.replicas)

    @property
    def unlabeled_rows(self) -> int:
        """Unlabeled rows of a micro-batch on one replica."""
        return self.micro_unlabeled // self.replicas

    @property
    def is_padded(self) -> bool:
        """True if some labeled rows repeat others."""
        return self.labeled_rows * self.replicas != self.micro_labeled

    @property
    def runs(self) -> tuple[int, ...] | None:
        """Lengths of the runs of consecutive `Share.numbers`; None if rows are repeated."""
        if self.is_padded:
            return None
        return (self.labeled_rows, self.unlabeled_rows)[: 2 if self.unlabeled else 1]

    def share(self, replica: tf.Tensor | int = 0, micro_batch: tf.Tensor | int = 0) -> "Share":
        """Returns the share of one replica in one micro-batch; both arguments count from 0."""
        return Share(self, replica, micro_batch)

    def per_replica(self, batches: tf.data.Dataset, hosts: int, host: int) -> tf.data.Dataset:
        """Splits the micro-batches of a host into the batches of its replicas, in turn.

        Args:
            batches: dictionaries of tensors with a leading micro_labeled or, if the name is
                "probabilities" or begins with "unlabeled", micro_unlabeled rows: only this host's
                rows of them, or all if the layout is padded.
            hosts: number of hosts, which share the replicas evenly.
            host: index of this host.
        """
        local = self.replicas // hosts
        if self.replicas == 1:
            return batches

        def split(batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
            return {name: self._split(name, rows, local, host) for name, rows in batch.items()}

        return batches.map(split, num_parallel_calls=tf.data.AUTOTUNE).unbatch()

    def _split(self, name: str, rows: tf.Tensor, local: int, host: int) -> tf.Tensor:
        unlabeled = name == "probabilities" or name.startswith("unlabeled")
        size = self.unlabeled_rows if unlabeled else self.labeled_rows
        if self.is_padded:
            count = self.micro_unlabeled if unlabeled else self.micro_labeled
            rows = tf.gather(rows, (host * local * size + tf.range(local * size)) % count)
        return tf.reshape(rows, [local, size, *rows.shape[1:]])


@dataclass(frozen=True)
class Share:
    """The part of an update that one replica computes in one micro-batch.

    Losses are scaled here: shares of a mean sum, over all replicas and micro-batches, to the mean
    over all images of the update.
    """

    layout: Layout  # sizes of the update
    replica: tf.Tensor | int  # index of the replica, int32 scalar
    micro_batch: tf.Tensor | int  # index of the micro-batch, int32 scalar

    @property
    def numbers(self) -> tf.Tensor:
        """Numbers of the images of this share, labeled then unlabeled: int32 [rows]."""
        layout = self.layout
        labeled = self.micro_batch * layout.micro_labeled + self._row % layout.micro_labeled
        row = self.replica * layout.unlabeled_rows + tf.range(layout.unlabeled_rows)
        unlabeled = layout.labeled + self.micro_batch * layout.micro_unlabeled + row
        return tf.concat([labeled, unlabeled], axis=0)

    @property
    def mask(self) -> tf.Tensor | None:
        """0 for labeled rows that repeat others, else 1: float32 [labeled_rows]; None: all 1."""
        if not self.layout.is_padded:
            return None
        return tf.cast(self._row < self.layout.micro_labeled, tf.float32)

    @property
    def _row(self) -> tf.Tensor:
        rows = self.layout.labeled_rows
        return self.replica * rows + tf.range(rows)

    def labeled_mean(self, values: tf.Tensor) -> tf.Tensor:
        """Returns this share of the mean over labeled images: float32 [..., labeled_rows] -> [...].

        Repeated rows do not count.
        """
        mask = self.mask
        values = values if mask is None else values * mask
        return tf.reduce_sum(values, axis=-1) / self.layout.labeled

    def unlabeled_mean(self, values: tf.Tensor) -> tf.Tensor:
        """Returns this share of the mean over unlabeled images: float32 [..., u] -> [...]."""
        return tf.reduce_sum(values, axis=-1) / self.layout.unlabeled

    def even(self, value: tf.Tensor) -> tf.Tensor:
        """Returns this share of a value that does not depend on the images."""
        return value / self.layout.num_shares
