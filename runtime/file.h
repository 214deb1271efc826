// Files that are either whole or not there: what was written is synced before it is believed, and
// appears under its name in one moment. Any thread; no state.
//
// Errors: ResourceExhausted for a full disk or too many open files, NotFound for a missing path,
// Unavailable for anything else that the system reports; each names the path.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "proto/status.h"

namespace emporium::runtime {

// Writes a temporary file beside `path`, syncs it, renames it to `path` and syncs the directory.
// On failure nothing is left behind and an older file of that name is untouched.
Status WriteFileDurably(const std::string& path, std::string_view bytes);
Status FsyncFile(const std::string& path);
Status FsyncDir(const std::string& path);
// Renames and syncs the directory of the new name.
Status RenameDurably(const std::string& from, const std::string& to);

// Gives the file `from` a second name; where the file system knows no second names, copies it there
// and syncs the copy. The directory is not synced.
Status LinkFile(const std::string& from, const std::string& to);

// Puts the finished directory `from` under the name `to` and syncs that name. What had the name
// before is removed; until the new one has it, in one moment, nobody sees it gone. (On a file
// system that cannot exchange two names there is a short moment without either.)
Status ReplaceDirDurably(const std::string& from, const std::string& to);
// A directory and all in it, while others may still change names there; Ok when there is none.
Status RemoveDir(const std::string& path);

Result<std::string> ReadFile(const std::string& path);
// Lower-case hex.
Result<std::string> Sha256OfFile(const std::string& path);
std::string Sha256(std::string_view bytes);
// XXH3-128, lower-case hex as `xxh128sum` prints it: finds damage ten times as fast, and would not
// withstand an attacker.
Result<std::string> Xxh3OfFile(const std::string& path);

// As `mkdir -p`.
Status MakeDirs(const std::string& path);
// Paths that match a shell pattern, sorted; a pattern that matches nothing gives an empty list.
Result<std::vector<std::string>> Glob(const std::string& pattern);

}  // namespace emporium::runtime
