import json

import pytest

from noisy_student.artifacts import files
from noisy_student.artifacts.files import read_json, write_json


def test_json_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "x.json"
    write_json(path, {"a": 1})
    with pytest.raises(TypeError):
        write_json(path, {"a": object()})
    assert json.loads(path.read_text()) == {"a": 1}
    path.write_text('{"a": ')
    with pytest.raises(ValueError, match="x.json is not valid JSON"):
        read_json(path)
    assert [file.name for file in tmp_path.iterdir()] == ["x.json"]


def test_hashes_follow_contents_and_order(tmp_path):
    paths = [tmp_path / name for name in "abc"]
    for path, content in zip(paths, ("1", "2", "1"), strict=True):
        path.write_text(content)
    first, second, third = map(files.file_hash, paths)
    assert first == third != second and len(first) == 16
    assert files.files_hash(paths[:2]) == files.files_hash([paths[2], paths[1]])
    assert files.files_hash(paths[:2]) != files.files_hash(paths[1::-1])
