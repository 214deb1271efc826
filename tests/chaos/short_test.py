"""The short form of tests/chaos/run: 20 kills, some failpoints, processes that are stopped past
their lease, and workers that come and go."""
import os
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import chaos  # noqa: E402

KILLS = 20
# Places between two things that are easily taken for one.
PLACES = ("scheduler.saved", "scheduler.checkpoint_manifest_written", "server.restore_shard_read",
          "server.step_applied", "server.checkpoint_file_renamed", "worker.push_half_sent")


class ShortChaosTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.shop = chaos.Workshop(os.environ["EMPORIUM_BUILD"])
        cls.shop.calm_digest()
        cls.draw = chaos.draws(20)

    @classmethod
    def tearDownClass(cls):
        cls.shop.__exit__(None, None, None)

    def test_twenty_random_kills(self):
        killed = 0
        while killed < KILLS:
            killed += sum(chaos.kill_trial(self.shop, self.draw, min(6, KILLS - killed)).values())
        self.assertGreaterEqual(killed, KILLS)

    def test_processes_end_between_two_things(self):
        for name in PLACES:
            with self.subTest(name=name):
                self.assertIn(name, chaos.failpoints())
                self.assertTrue(chaos.failpoint_trial(self.shop, name, self.draw), "was not passed")

    def test_what_was_taken_for_dead_comes_back(self):
        for role in ("worker", "server"):
            with self.subTest(role=role):
                self.assertLess(chaos.zombie_trial(self.shop, self.draw, role), 10)

    def test_workers_come_and_go(self):
        chaos.scale_trial(self.shop, self.draw, [2, 6, 1])


if __name__ == "__main__":
    unittest.main()
