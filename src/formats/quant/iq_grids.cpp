// The byte tables of the IQ codebooks.
#include "formats/quant/iq_grids.h"

#include "formats/quant/iq_grid_members.h"

namespace realm {
namespace {

constexpr int kIq1Levels[3] = {-1, 0, 1};

}  // namespace

constexpr IqGrid<uint64_t, 256> kIq2XxsGrid =
    expand_grid<uint64_t, 256>(kIq2XxsMembers, kIq2Levels);
constexpr IqGrid<uint64_t, 512> kIq2XsGrid = expand_grid<uint64_t, 512>(kIq2XsMembers, kIq2Levels);
constexpr IqGrid<uint64_t, 1024> kIq2SGrid = expand_grid<uint64_t, 1024>(kIq2SMembers, kIq2Levels);
constexpr IqGrid<uint64_t, 2048> kIq1Grid = expand_grid<uint64_t, 2048>(kIq1Members, kIq1Levels);
constexpr IqGrid<uint32_t, 256> kIq3XxsGrid =
    expand_grid<uint32_t, 256>(kIq3XxsMembers, kIq3XxsLevels);
constexpr IqGrid<uint32_t, 512> kIq3SGrid = expand_grid<uint32_t, 512>(kIq3SMembers, kIq3SLevels);

}  // namespace realm
