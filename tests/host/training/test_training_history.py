import pytest

from host.training.history import EpochRecord, best_epoch, should_stop


def history(*scores: tuple[float, float]) -> list[EpochRecord]:
    return [
        EpochRecord(
            epoch=epoch,
            train_loss=1.0,
            validation_loss=loss,
            validation_accuracy=accuracy,
            lr=0.1,
            ssm_lr=0.1,
            gradient_norm=1.0,
            seconds=1.0,
        )
        for epoch, (accuracy, loss) in enumerate(scores, start=1)
    ]


@pytest.mark.parametrize(
    ("scores", "best"),
    [
        ([(0.5, 1.0), (0.9, 2.0), (0.8, 0.1)], 2),  # accuracy counts before loss
        ([(0.9, 1.0), (0.9, 0.7), (0.9, 0.8)], 2),  # a tie: the lower loss
        ([(0.9, 1.0), (0.9, 1.0)], 1),  # all equal: the earlier
    ],
)
def test_the_best_epoch_is_the_most_accurate_then_the_one_of_lowest_loss(scores, best):
    assert best_epoch(history(*scores)).epoch == best


@pytest.mark.parametrize(
    ("scores", "patience", "stops"),
    [
        ([], 1, False),
        ([(0.5, 1.0)], 1, False),
        ([(0.5, 1.0), (0.4, 1.0)], 1, True),
        ([(0.5, 1.0), (0.4, 1.0)], 2, False),
        ([(0.5, 1.0), (0.4, 1.0), (0.5, 1.0)], 2, True),
        ([(0.5, 1.0), (0.4, 1.0), (0.5, 0.9)], 2, False),
        ([(0.5, 1.0)] + [(0.1, 9.0)] * 50, None, False),
    ],
)
def test_training_stops_once_the_best_epoch_lies_patience_epochs_back(scores, patience, stops):
    assert should_stop(history(*scores), patience) is stops
