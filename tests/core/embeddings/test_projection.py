import os
import shutil
import subprocess
import sys
from dataclasses import asdict, replace

import numpy as np
import psutil
import pytest

from core import worker_process as child
from core.embeddings.projection import (
    METHODS,
    WORKER,
    Projection,
    ProjectionConfig,
    place,
    procrustes_aligned,
    project,
)
from core.embeddings.projection_worker import compute
from core.errors import UserError
from core.progress import Progress, run
from core.storage.cache import CACHE_VARIABLE
from core.worker_process import run_worker

PER_BLOB = 30


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(CACHE_VARIABLE, str(folder))
        yield folder / "projections"


@pytest.fixture(scope="module")
def blobs():
    """Two clouds of 30 points each in 80 dimensions, far from each other."""
    rng = np.random.default_rng(0)
    centres = np.repeat(rng.normal(size=(2, 80)), PER_BLOB, axis=0)
    return (centres + 0.2 * rng.normal(size=centres.shape)).astype(np.float32)


@pytest.fixture(scope="module")
def maps(cache, blobs):
    return {method: run(project(blobs, ProjectionConfig(method=method, perplexity=10))) for method in METHODS}


def mapped_here(points, settings):
    """A map made without the seconds that a process takes to start."""
    values, (coordinates,) = compute(asdict(settings), np.asarray(points, np.float32), lambda *_: None)
    return Projection(coordinates, settings, seconds=0, **values)


def children():
    """The processes of maps: other tests of this run may have servers."""
    alive = (process for process in psutil.Process().children() if process.status() != psutil.STATUS_ZOMBIE)
    return [process for process in alive if WORKER in process.cmdline()]


@pytest.fixture
def no_process(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("a process was started")

    monkeypatch.setattr(child.subprocess, "Popen", refuse)


@pytest.mark.parametrize("method", METHODS)
def test_clouds_that_lie_apart_stay_apart(maps, method):
    first, second = maps[method].coordinates[:PER_BLOB], maps[method].coordinates[PER_BLOB:]
    apart = np.linalg.norm(first.mean(0) - second.mean(0))
    radii = [np.linalg.norm(part - part.mean(0), axis=1).mean() for part in (first, second)]
    assert apart > 2 * max(radii)
    assert maps[method].coordinates.dtype == np.float32
    assert maps[method].method == method
    assert maps[method].note == ""
    assert 0.5 < maps[method].trustworthiness <= 1


@pytest.mark.parametrize("method", ["tsne", "umap"])
def test_the_same_seed_gives_the_same_coordinates(maps, blobs, method, tmp_path, monkeypatch):
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    again = run(project(blobs, maps[method].settings))
    assert not again.cached
    np.testing.assert_array_equal(again.coordinates, maps[method].coordinates)


def test_a_kept_map_starts_no_process(maps, blobs, no_process):
    kept = run(project(blobs.astype(np.float64), maps["tsne"].settings))
    assert kept.cached
    np.testing.assert_array_equal(kept.coordinates, maps["tsne"].coordinates)
    assert replace(kept, coordinates=None, cached=False).__dict__ == replace(maps["tsne"], coordinates=None).__dict__


def test_only_what_matters_for_the_method_makes_another_map(maps, blobs, no_process):
    settings = maps["umap"].settings
    assert run(project(blobs, replace(settings, perplexity=20.0))).cached
    assert run(project(blobs, replace(maps["pca"].settings, seed=5))).cached
    for other in ({"seed": 5}, {"neighbours": 5}, {"min_dist": 0.5}, {"dimensions": 3}, {"metric": "euclidean"}):
        with pytest.raises(AssertionError, match="a process was started"):
            run(project(blobs, replace(settings, **other)))
    with pytest.raises(AssertionError, match="a process was started"):
        run(project(blobs + 1, settings))


def test_a_cached_map_opens_without_the_libraries_that_made_it(maps, blobs, tmp_path):
    np.save(tmp_path / "blobs.npy", blobs)
    script = (
        "import sys, numpy as np\n"
        "from core.embeddings.projection import ProjectionConfig, project\n"
        "from core.progress import run\n"
        f"matrix = np.load({str(tmp_path / 'blobs.npy')!r})\n"
        "assert run(project(matrix, ProjectionConfig(method='umap', perplexity=10))).cached\n"
        "assert not {'umap', 'numba', 'sklearn', 'torch', 'scipy'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, cwd=child.ROOT)


def test_a_damaged_kept_map_is_computed_again(maps, blobs, cache, tmp_path, monkeypatch, caplog):
    settings = maps["pca"].settings
    shutil.copytree(cache, tmp_path / cache.name)  # other tests need the maps of the module whole
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    for path in (tmp_path / cache.name).glob("*.npz"):
        path.write_bytes(path.read_bytes()[:100])
    again = run(project(blobs, settings))
    assert not again.cached
    np.testing.assert_array_equal(again.coordinates, maps["pca"].coordinates)
    assert "damaged" in caplog.text
    assert run(project(blobs, settings)).cached


def test_progress_goes_up_to_the_map(blobs, tmp_path, monkeypatch):
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    steps = []
    last = run(project(blobs, ProjectionConfig(method="tsne")), steps.append)
    fractions = [step.fraction for step in steps]
    assert fractions == sorted(fractions)
    assert any(step.message == "t-SNE: iteration 500 of 1000" for step in steps)
    assert last.note.startswith("Perplexity was lowered to 19.7")


def test_closing_kills_the_process_and_leaves_nothing(blobs, tmp_path, monkeypatch):
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    steps = project(np.repeat(blobs, 50, axis=0), ProjectionConfig(method="tsne"))
    while next(steps).fraction < 0.05:
        pass
    (process,) = children()
    next(steps)
    steps.close()
    assert not process.is_running()
    assert not list(tmp_path.rglob("*.npz"))


def test_a_process_whose_parent_is_gone_ends():
    process = subprocess.Popen(
        [sys.executable, "-m", WORKER], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, cwd=child.ROOT
    )
    rng = np.random.default_rng(0)
    task = {"method": "tsne", "dimensions": 3, "seed": 0, "metric": "cosine", "perplexity": 30}
    child.send(process.stdin, task, [rng.normal(size=(5000, 50))])
    process.stdin.close()
    assert process.wait(timeout=10) == 1


def test_an_error_in_the_process_is_one_sentence():
    task = {"method": "tsne", "dimensions": 2, "seed": 0, "metric": "cosine", "perplexity": 5}
    with pytest.raises(UserError, match=r"^The map could not be computed \([^\n]*NaN[^\n]*\)\.$"):
        run(run_worker(WORKER, task, [np.full((20, 4), np.nan)]))


def test_a_process_that_is_killed_is_one_sentence(blobs):
    steps = run_worker(WORKER, {"method": "tsne"}, [blobs])
    next(steps)
    (process,) = children()
    process.kill()
    with pytest.raises(UserError, match=r"stopped without a result \(exit code -9\)"):
        run(steps)


@pytest.mark.parametrize(
    ("matrix", "sentence"),
    [
        (np.zeros((0, 5)), "no points"),
        (np.zeros((5, 0)), "no points"),
        (np.array([[1.0, np.nan], [1, 2], [np.inf, 1]]), "2 of 3 points have numbers that are not finite"),
        (np.array([[1e300, 1.0]]), "1 of 1 points have numbers that are not finite"),
    ],
)
def test_what_cannot_be_mapped_is_refused_before_a_process_starts(matrix, sentence, no_process):
    with pytest.raises(UserError, match=sentence):
        run(project(matrix, ProjectionConfig()))


@pytest.mark.parametrize(
    "values",
    [
        {"method": "lda"},
        {"dimensions": 4},
        {"seed": -1},
        {"seed": 1.5},
        {"neighbours": 1},
        {"min_dist": float("nan")},
        {"perplexity": 0},
        {"metric": "manhattan"},
    ],
)
def test_settings_that_no_map_can_have_are_refused(values):
    with pytest.raises(UserError):
        ProjectionConfig(**values)


@pytest.mark.parametrize(
    ("count", "sentence"),
    [
        (1, "1 different point of 6 numbers cannot be laid out by t-SNE: PCA was used instead."),
        (2, "2 different points of 6 numbers cannot be laid out by t-SNE: PCA was used instead."),
        (3, "3 different points of 6 numbers cannot be laid out by t-SNE: PCA was used instead."),
    ],
)
def test_too_few_points_are_laid_out_by_pca_and_that_is_said(count, sentence):
    points = np.random.default_rng(0).normal(size=(count, 6))
    projection = mapped_here(points, ProjectionConfig(method="tsne", dimensions=3))
    assert projection.note == sentence
    assert projection.method == "pca"
    assert projection.coordinates.shape == (count, 3)
    assert np.isfinite(projection.coordinates).all()
    assert projection.trustworthiness is None
    assert len(np.unique(projection.coordinates, axis=0)) == count
    placed, _ = place(points, points, projection)
    np.testing.assert_allclose(placed, projection.coordinates, atol=1e-5)


def test_points_that_are_all_the_same_lie_on_one_spot():
    points = np.ones((40, 6))
    projection = mapped_here(points, ProjectionConfig(method="umap"))
    assert not projection.coordinates.any()
    assert projection.method == "pca"
    assert projection.note.startswith("1 different point of 6 numbers")
    assert projection.trustworthiness is None
    placed, how = place(points[:2], points, projection)
    assert placed.shape == (2, 2)
    assert not placed.any()
    assert "one spot" in how


@pytest.mark.parametrize(
    ("method", "lowered"), [("tsne", "Perplexity was lowered"), ("umap", "Neighbours were lowered")]
)
def test_few_points_with_duplicates_are_laid_out_and_what_was_lowered_is_said(method, lowered):
    points = np.repeat(np.random.default_rng(0).normal(size=(5, 6)), 2, axis=0)
    projection = mapped_here(points, ProjectionConfig(method=method, dimensions=3))
    assert np.isfinite(projection.coordinates).all()
    assert projection.method == method
    assert projection.note.startswith(lowered)


@pytest.mark.parametrize("method", METHODS)
def test_a_point_that_is_there_already_is_placed_at_or_near_itself(maps, blobs, method):
    coordinates = maps[method].coordinates
    known = np.array([3, 40])
    placed, how = place(3 * blobs[known], blobs, maps[method])  # the cosine knows no length
    assert placed.shape == (2, 2)
    distances = np.linalg.norm(placed[:, None] - coordinates, axis=2)
    own = distances[np.arange(2), known]
    nearness = {"pca": 1e-5, "tsne": 1e-3, "umap": 0.15}[method]
    assert (own < nearness * np.ptp(coordinates, axis=0).max()).all()
    assert (distances.argmin(1) // PER_BLOB == known // PER_BLOB).all()
    assert how.startswith({"pca": "Placed exactly", "tsne": "Placed approximately", "umap": "Placed by UMAP"}[method])


def test_points_of_another_space_are_not_placed(maps, blobs):
    with pytest.raises(UserError, match="79 numbers each, those of the map 80"):
        place(blobs[:1, :79], blobs, maps["pca"])
    with pytest.raises(UserError, match="60 points, not 59"):
        place(blobs[:1], blobs[:59], maps["pca"])


@pytest.mark.parametrize("dimensions", [2, 3])
def test_alignment_undoes_turning_mirroring_scaling_and_moving(dimensions):
    rng = np.random.default_rng(0)
    reference = rng.normal(size=(20, dimensions)) * 40 + 7
    turn, _ = np.linalg.qr(rng.normal(size=(dimensions, dimensions)))
    for mirror in (1, -1):
        turn[:, 0] *= mirror
        np.testing.assert_allclose(procrustes_aligned(reference, 0.1 * reference @ turn - 5), reference, atol=1e-3)


def test_maps_that_have_nothing_in_common_keep_their_size():
    rng = np.random.default_rng(0)
    reference, other = rng.normal(size=(200, 2)), rng.normal(size=(200, 2))
    assert procrustes_aligned(reference, 7 * other).std() == pytest.approx(reference.std(), rel=0.05)


def test_alignment_of_maps_of_different_points_is_refused():
    with pytest.raises(UserError):
        procrustes_aligned(np.zeros((3, 2)), np.zeros((4, 2)))


def test_a_map_that_cannot_be_kept_says_so(blobs, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "file"))
    projection = run(project(blobs, ProjectionConfig(method="pca")))
    assert "could not be kept" in projection.note
    assert os.listdir(tmp_path) == ["file"]


def test_the_first_progress_comes_at_once(blobs, tmp_path, monkeypatch):
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    steps = project(blobs, ProjectionConfig(method="pca"))
    assert next(steps) == Progress(0.0, "Starting")
    steps.close()
    assert not children()
