"""The order of the stages and what each is given, with stages that only record their calls."""

from pathlib import Path

import pytest

from data import optional
from noisy_student import config, iterate
from noisy_student.artifacts import stage
from noisy_student.artifacts.files import read_json
from noisy_student.evaluate import benchmark
from tests.helpers.toy_teacher import save_model

MNIST = {"dataset": "mnist5k", "num_labeled": 100, "num_validation": 500}


@pytest.fixture
def calls(monkeypatch) -> list[tuple]:
    """Calls of the stages: name and the paths that matter, without the work directory."""
    made: list[tuple] = []
    accuracies = iter([50.0, 60.0, 55.0, 70.0, 80.0, 90.0])

    def train(settings, splits, directory, devices, log, inputs, callbacks):
        given = (inputs.selected_dir, inputs.init_model, inputs.teacher_model)
        made.append(("train", settings.role, Path(directory), *given))
        accuracy = next(accuracies)
        return {"validation_top1": accuracy, "images_seen": 48 * len(made)}

    monkeypatch.setattr(iterate.train, "run", train)
    monkeypatch.setattr(
        iterate.pseudo_label, "run", lambda t, e, d, **_: made.append(("label", t.model_path, d))
    )
    monkeypatch.setattr(
        iterate.pseudo_label,
        "reassign",
        lambda t, before, e, d, **_: made.append(("reassign", t.model_path, before, d)),
    )
    monkeypatch.setattr(
        iterate.write, "run", lambda labels, d, *_, **options: made.append(("select", d))
    )
    monkeypatch.setattr(iterate.evaluate, "run", lambda p, n, *_: made.append(("evaluate", n)))
    for name in ("write_noise", "write_changes", "write_robustness"):
        monkeypatch.setattr(iterate.galleries, name, lambda *_: None)
    monkeypatch.setattr(iterate.report, "run", lambda workdir: {"workdir": workdir})
    return made


def run(tmp_path: Path, **options) -> dict:
    return iterate.run(config.Config(**MNIST, **options), tmp_path)


def test_each_student_is_taught_by_the_model_before_it(calls, tmp_path):
    results = run(tmp_path, rounds=2, controls="student,chain", init_model="teacher")
    teacher, first, second = (
        tmp_path / name for name in ("round0/teacher", "round1/student", "round2/student")
    )
    sets = [tmp_path / f"round{number}" / "selected" for number in (1, 2)]
    models = [path / "model.keras" for path in (teacher, first)]
    assert calls == [
        ("train", "teacher", teacher, None, None, None),
        ("label", models[0], tmp_path / "round1" / "pseudo_labels"),
        ("select", sets[0]),
        ("train", "student", first, sets[0], models[0], models[0]),
        ("label", models[1], tmp_path / "round2" / "pseudo_labels"),
        ("select", sets[1]),
        ("train", "student", second, sets[1], models[1], models[1]),
        ("train", "control", tmp_path / "control_student", None, None, None),
        ("train", "control", tmp_path / "control_chain", None, None, None),
        ("evaluate", "round0_teacher"),
        ("evaluate", "round1_student"),
        ("evaluate", "round2_student"),
        ("evaluate", "control_student"),
        ("evaluate", "control_chain"),
    ]
    assert results == {"workdir": tmp_path} and (tmp_path / "config.json").exists()


def test_a_fine_tuned_student_is_the_next_teacher(calls, tmp_path):
    run(tmp_path, rounds=2, fixres_image_size=40, reassign=True)
    tuned = tmp_path / "round1" / "fixres"
    student = tmp_path / "round1" / "student" / "model.keras"
    assert ("train", "fixres", tuned, None, student, None) in calls
    before = tmp_path / "round1" / "selected"
    expected = ("reassign", tuned / "model.keras", before, tmp_path / "round2" / "selected")
    assert expected in calls


@pytest.mark.parametrize("shared", [False, True])
def test_a_model_of_its_own_selects_once_and_teachers_relabel(calls, tmp_path, shared):
    names = tuple(map(str, range(10)))
    selector, workdir = save_model(tmp_path / "b0.keras", seed=7, names=names), tmp_path / "run"
    directory = tmp_path / "selection" if shared else workdir / "selection"
    options = {"selection_dir": str(directory)} if shared else {}
    run(workdir, rounds=2, selection_model=str(selector), **options)
    models = [workdir / name / "model.keras" for name in ("round0/teacher", "round1/student")]
    sets = [directory / "selected", *(workdir / f"round{n}" / "selected" for n in (1, 2))]
    labeled = [call for call in calls if call[0] in ("label", "select", "reassign")]
    assert labeled == [
        ("label", str(selector), directory / "pseudo_labels"),
        ("select", sets[0]),
        ("reassign", models[0], sets[0], sets[1]),
        ("reassign", models[1], sets[1], sets[2]),
    ]
    students = [call[3] for call in calls if call[:2] == ("train", "student")]
    assert students == sets[1:]


def test_a_finished_selection_is_taken_as_it_is(calls, tmp_path):
    with pytest.raises(ValueError, match=f"{tmp_path}/once/selected has no done.json"):
        run(tmp_path, rounds=1, selection_dir=str(tmp_path / "once"))
    assert calls == []
    stage.open_stage(tmp_path / "once/selected", {}).finish([], records_hash="")
    run(tmp_path, rounds=1, selection_dir=str(tmp_path / "once"))
    assert [
        call[:1] + call[2:] for call in calls if call[0] in ("label", "select", "reassign")
    ] == [("reassign", tmp_path / "once/selected", tmp_path / "round1/selected")]


def test_a_round_that_does_not_improve_ends_the_run_on_request(calls, tmp_path):
    run(tmp_path, rounds=3, stop_when_worse=True)
    trained = [call[2].relative_to(tmp_path).parts[0] for call in calls if call[0] == "train"]
    assert trained == ["round0", "round1", "round2"]  # 50, 60 and 55%


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"num_labeled": 0}, "unlabeled images"),
        ({"student_name": "efficientnet-b9"}, "efficientnet-b0"),
        ({"num_validation": 0, "calibrate": True}, "--calibrate"),
        ({"benchmarks": "clen"}, "--benchmarks=clen: .*clean"),
        ({"benchmarks": "corruptions", "corruptions": "fogg"}, "--corruptions=fogg: .*fog"),
        ({"benchmarks": "imagenet_c"}, "--imagenet_c_dir"),
        ({"num_validation": 0, "stop_when_worse": True}, "--stop_when_worse"),
        ({"selection_model": "/no/such.keras"}, "/no/such.keras"),
    ],
)
def test_what_a_later_stage_would_refuse_is_refused_first(calls, tmp_path, options, named):
    with pytest.raises(ValueError, match=named):
        iterate.run(config.Config(**MNIST | options), tmp_path)
    assert calls == []


def test_a_benchmark_without_its_package_is_left_out_and_named(
    calls, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(benchmark.get("corruptions"), "packages", ("no_such_package",))
    monkeypatch.setitem(optional.EXTRAS, "no_such_package", "robustness")
    run(tmp_path, rounds=0, benchmarks="clean,corruptions")
    assert calls[-1] == ("evaluate", "round0_teacher")
    assert read_json(tmp_path / "config.json")["flags"]["benchmarks"] == ["clean"]
    output = capsys.readouterr().out
    assert "corruptions" in output and "pip install 'noisy-student[robustness]'" in output
    with pytest.raises(ValueError, match="no_such_package"):
        run(tmp_path / "none", rounds=0, benchmarks="corruptions")
