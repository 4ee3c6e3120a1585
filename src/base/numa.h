// Memory of machines whose processors have memory of their own each.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "base/result.h"

namespace realm {

// The nodes whose memory this process may use, in order; empty where the system names none. `root`
// is prepended to the paths in /proc and /sys; tests give a folder of their own.
std::vector<int> memory_nodes(const std::string& root = {});

enum class MemorySpread {
  kSpread,   // page by page over the nodes
  kOneNode,  // there is nothing to spread over
  kChosen,   // whoever started the program has set a policy (numactl), which stays
};

// Lets this thread, and those that it starts from now on, take the pages of its memory and of the
// files that it reads in from all of `nodes` by turns (MPOL_INTERLEAVE of set_mempolicy(2)): each
// core then reads weights at the machine's mean speed, where one node's memory would be everyone's
// limit. Pages that are in the page cache already stay where they are. Errors: kUnavailable, where
// the system refuses (containers often do).
Result<MemorySpread> spread_memory(std::span<const int> nodes);

// Whether this thread's memory follows a policy: spread_memory's or one set before.
bool has_memory_policy();

}  // namespace realm
