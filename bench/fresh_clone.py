"""Times ./quickstart and ./run_tests in a fresh clone with a fresh HOME: cold, then again.

What Debian packages this machine has already stays installed: on a bare Debian the first run is
longer by their installation. usage: fresh_clone.py [--keep] (the clone is removed otherwise)
"""
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def timed(command, directory, environment):
    """(seconds, output); ends the program when the command fails."""
    print("$", " ".join(command), flush=True)
    start = time.monotonic()
    done = subprocess.run(command, cwd=directory, env=environment, stdin=subprocess.DEVNULL,
                          text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          errors="replace", check=False)
    if done.returncode != 0:
        sys.exit(f"{done.stdout}\n{' '.join(command)} ended with code {done.returncode}")
    return time.monotonic() - start, done.stdout


def disk_mb(directory):
    done = subprocess.run(["du", "-sm", directory], capture_output=True, text=True, check=True)
    return int(done.stdout.split()[0])


def main():
    place = tempfile.mkdtemp(prefix="emporium-fresh-")
    try:
        home, clone = os.path.join(place, "home"), os.path.join(place, "emporium")
        os.mkdir(home)
        subprocess.run(["git", "clone", "-q", ROOT, clone], check=True)
        environment = {name: value for name, value in os.environ.items()
                       if not name.startswith(("XDG_", "CCACHE_")) and name != "LIBTORCH_ROOT"}
        environment["HOME"] = home
        cold, output = timed(["./quickstart"], clone, environment)
        built = re.search(r"set-up and build took (\d+) s", output)
        print(f"figure quickstart_cold_set_up_and_build_s {built.group(1)}")
        print(f"figure quickstart_cold_s {cold:.1f}")
        print(f"figure quickstart_warm_s {timed(['./quickstart'], clone, environment)[0]:.1f}")
        rebuild = timed(["ninja", "-C", "build/release", "emporium"], clone, environment)[0]
        print(f"figure no_change_rebuild_s {rebuild:.1f}")
        print(f"figure run_tests_cold_s {timed(['./run_tests'], clone, environment)[0]:.1f}")
        print(f"figure run_tests_warm_s {timed(['./run_tests'], clone, environment)[0]:.1f}")
        # Hard links between cache and clone are counted once.
        print(f"figure disk_mb {disk_mb(place)}")
    finally:
        if "--keep" not in sys.argv:
            shutil.rmtree(place)


if __name__ == "__main__":
    main()
