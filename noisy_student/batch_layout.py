"""Where the images of one update are: in which micro-batch, on which replica, in which row.

The images of an update are numbered: the labeled ones first, then the unlabeled ones. Their noise
depends on these numbers alone. They come in micro-batches (one, unless gradients are accumulated)
of which every replica has equally many rows. Where there are fewer labeled images than that asks
for, some are repeated and masked: the loss does not count them, though batch norm sees them.
"""

from dataclasses import dataclass

import tensorflow as tf


@dataclass(frozen=True)
class Layout:
    """Rows of one update.

    Attributes:
        labeled: labeled images of an update.
        unlabeled: unlabeled images of an update, 0 or more.
        replicas: that share every micro-batch.
        micro_batches: of an update.

    Raises:
        ValueError: the images cannot be split evenly.
    """

    labeled: int
    unlabeled: int
    replicas: int = 1
    micro_batches: int = 1

    def __post_init__(self) -> None:
        if self.labeled % self.micro_batches:
            raise ValueError(
                f"--batch_size = {self.labeled} cannot be split evenly into "
                f"--accumulate_steps={self.micro_batches} parts."
            )
        parts = self.micro_batches * self.replicas
        if self.unlabeled % parts:
            raise ValueError(
                f"--ratio * batch_size = {self.unlabeled} cannot be split evenly over "
                f"{self.replicas} replicas and {self.micro_batches} accumulated steps."
            )

    @property
    def total(self) -> int:
        """Images of an update."""
        return self.labeled + self.unlabeled

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
        """Labeled rows of a micro-batch on one replica, the repeated ones counted."""
        return -(-self.micro_labeled // self.replicas)

    @property
    def unlabeled_rows(self) -> int:
        """Unlabeled rows of a micro-batch on one replica."""
        return self.micro_unlabeled // self.replicas

    @property
    def is_padded(self) -> bool:
        """Whether some labeled rows repeat others."""
        return self.labeled_rows * self.replicas != self.micro_labeled

    def numbers(self, replica: tf.Tensor | int, micro_batch: tf.Tensor | int) -> tf.Tensor:
        """The numbers of a replica's images, labeled then unlabeled: int32 [rows]."""
        row = replica * self.labeled_rows + tf.range(self.labeled_rows)
        labeled = micro_batch * self.micro_labeled + row % self.micro_labeled
        row = replica * self.unlabeled_rows + tf.range(self.unlabeled_rows)
        unlabeled = self.labeled + micro_batch * self.micro_unlabeled + row
        return tf.concat([labeled, unlabeled], axis=0)

    @property
    def runs(self) -> tuple[int, ...] | None:
        """Lengths of the parts of `numbers` that count up by 1; None where rows are repeated."""
        if self.is_padded:
            return None
        return (self.labeled_rows, self.unlabeled_rows)[: 2 if self.unlabeled else 1]

    def mask(self, replica: tf.Tensor | int) -> tf.Tensor:
        """0 for a replica's labeled rows that repeat others, else 1: float32 [labeled_rows]."""
        row = replica * self.labeled_rows + tf.range(self.labeled_rows)
        return tf.cast(row < self.micro_labeled, tf.float32)

    def per_replica(self, batches: tf.data.Dataset, hosts: int, host: int) -> tf.data.Dataset:
        """Turns a host's micro-batches into what each of its replicas gets, in turn.

        Args:
            batches: dictionaries of tensors with a leading micro_labeled or, where the name is
                "probabilities" or begins with "unlabeled", micro_unlabeled rows: only this host's
                rows of them, or all where the layout is padded.
            hosts: that share the replicas evenly.
            host: which of them this is.
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
