"""The short form of tests/chaos/run: 20 kills, some failpoints, processes that are stopped past
their lease, workers that come and go, a full disk, and a network that is cut in two."""
import os
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import chaos  # noqa: E402
import disk  # noqa: E402
import elastic  # noqa: E402
import network  # noqa: E402

KILLS = 20
# A shorter job: 420 steps before the last validation of its first stage.
CHANGES = (("epochs: 24\n", "epochs: 12\n"),)
# Places between two things that are easily taken for one, and at which passing.
PLACES = {"scheduler.saved": 3, "scheduler.checkpoint_manifest_written": 2,
          "server.restore_shard_read": 1, "server.step_applied": 7,
          "server.checkpoint_file_renamed": 2, "worker.push_half_sent": 3}


class ShortChaosTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.shop = chaos.Workshop(os.environ["EMPORIUM_BUILD"], changes=CHANGES)
        cls.shop.calm_digest()

    def setUp(self):
        self.draw = chaos.draws(20)

    @classmethod
    def tearDownClass(cls):
        cls.shop.__exit__(None, None, None)

    def test_twenty_random_kills(self):
        killed = 0
        while killed < KILLS:
            killed += sum(chaos.kill_trial(self.shop, self.draw, min(10, KILLS - killed)).values())

    def test_processes_end_between_two_things(self):
        for name, nth in PLACES.items():
            with self.subTest(name=name):
                self.assertIn(name, chaos.failpoints())
                self.assertTrue(chaos.failpoint_trial(self.shop, name, nth), "was not passed")

    def test_what_was_taken_for_dead_comes_back(self):
        for role in ("worker", "server"):
            with self.subTest(role=role):
                self.assertLess(chaos.zombie_trial(self.shop, self.draw, role), 10)

    def test_workers_come_and_go(self):
        elastic.scale_trial(self.shop, self.draw, [2, 6, 1])

    # These two need root, and fail without.
    def test_a_disk_is_full_for_a_while(self):
        disk.full_disk_trial(self.shop, self.draw)

    def test_packets_are_lost_for_a_while(self):
        # Of three tries: what is lost depends on who says something meanwhile.
        tries = (network.partition_trial(self.shop, self.draw, cuts=1, longest_s=4)
                 for _ in range(3))
        self.assertTrue(any(tries), "no packet was lost")


if __name__ == "__main__":
    unittest.main()
