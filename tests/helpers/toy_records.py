"""Small TFRecord files in the layout in which ImageNet is published, sound and damaged."""

import io
import pathlib

import tensorflow as tf
from PIL import Image

CLASSES = ("n01", "n02", "n03")


def encode(value, side=12, image_format="PNG"):
    buffer = io.BytesIO()
    Image.new("RGB", (side, side), (value, 2 * value, 7)).save(buffer, image_format)
    return buffer.getvalue()


def feature(value):
    if isinstance(value, bytes):
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
    if isinstance(value, int):
        return tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))
    if isinstance(value[0], int):
        return tf.train.Feature(int64_list=tf.train.Int64List(value=value))
    if isinstance(value[0], bytes):
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=value))
    return tf.train.Feature(float_list=tf.train.FloatList(value=value))


def example(**features):
    """A record with "image/" in front of every name; None leaves a feature out."""
    named = {f"image/{k.replace('__', '/')}": v for k, v in features.items() if v is not None}
    return raw_example(named)


def raw_example(features):
    message = tf.train.Features(feature={name: feature(v) for name, v in features.items()})
    return tf.train.Example(features=message).SerializeToString()


def imagenet(number, synset=True, **others):
    """A record in the published layout, of the class number % 3."""
    published = {
        "encoded": encode(number),
        "class__label": number % 3 + 1,
        "class__synset": CLASSES[number % 3].encode() if synset else None,
        "class__text": b"some words",
        "filename": b"%d.JPEG" % number,
        "height": 12,
        "format": b"JPEG",
        "object__bbox__xmin": [0.1, 0.2],
    }
    return example(**(published | others))


def write(path, serialized):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in serialized:
            writer.write(record)
    return str(path)


def write_imagenet(folder, count=30, shards=2, split="train", **options):
    for shard in range(shards):
        name = f"{split}-{shard:05d}-of-{shards:05d}"
        write(folder / name, [imagenet(i, **options) for i in range(shard, count, shards)])
    return str(folder / f"{split}-*")


def flip_byte(path, position):
    data = bytearray(pathlib.Path(path).read_bytes())
    data[position] ^= 1
    pathlib.Path(path).write_bytes(data)


def in_image(path, offset):
    """A byte of the image in the record at `offset`; features come in no certain order."""
    return pathlib.Path(path).read_bytes().index(b"IDAT", offset) + len("IDAT")
