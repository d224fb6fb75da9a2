from train.bench import package_pictures, prefix_speed, unknown_share


def test_the_shared_prefix_ranks_alike_and_saves_time(recogniser):
    result = prefix_speed(recogniser, next(iter(package_pictures().values())))
    assert result["speedup"] > 3  # twice that on a machine with nothing else to do
    assert result["same_ranking"]
    assert result["largest_difference"] < 0.3


def test_pictures_of_other_things_are_unknown(recogniser):
    assert len(package_pictures()) >= 25
    assert unknown_share(recogniser)["detected"] >= 0.8
