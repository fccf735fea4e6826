from tests.helpers.teacher_fixtures import model_path, source

__all__ = ["model_path", "source"]
