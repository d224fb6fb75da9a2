from train.bench import bench


def test_the_shared_prefix_ranks_alike_and_saves_time(recogniser):
    result = bench(recogniser)
    assert result["speedup"] > 2
    assert result["largest_difference"] < 0.3
