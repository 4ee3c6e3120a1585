// Pages of KV cache kept for prompts that begin alike: a tree of whole pages per space (tenant,
// adapter, salt), each node one page of tokens after its parent's. A space never sees another's
// nodes, so neither content nor timing passes between tenants; what an operator publishes lives in
// a space of its own that all look into. Owned by the planner; not thread-safe.
//
// The cache has its own reference on each page. A request holds the path of nodes it runs along;
// nodes that nobody holds are kept in order of last use and given up, oldest first, when pages are
// needed. Where there is host memory to store pages in, what is given up goes there first, and
// comes back when it is met again; a node that is stored has only stored ones below it. A node
// whose page is still being computed is pending: its owner's to fill, others wait for it rather
// than compute the same.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/tenant_id.h"
#include "base/token.h"
#include "engine/page_pool.h"
#include "scheduler/request.h"

namespace realm {

class PrefixCache {
 public:
  struct Space {
    bool published = false;  // then of no tenant
    TenantId tenant = {};
    AdapterId adapter = AdapterId::kNone;
    std::string salt = {};
    // NOLINTNEXTLINE(modernize-use-nullptr): the 0 that the compiler generates is no pointer
    auto operator<=>(const Space&) const = default;
  };
  struct Node;

  // The nodes along which a request runs, from the first page on. Movable data; the cache counts
  // the holders, so every path goes back through release().
  struct Path {
    Node* root = nullptr;  // null: holds nothing
    std::vector<Node*> nodes = {};
    bool blocked = false;  // another request computes the next page: nothing can be added behind it
  };

  struct Match {
    std::vector<PageId> pages;           // computed, in order
    int64_t stored = 0;                  // how many more follow in the host's memory
    std::optional<RequestId> computing;  // who is filling the pages after these
    int64_t pages_then = 0;              // how many there will be when it has
  };

  // `host_slots`: pages that the host's memory has room for.
  explicit PrefixCache(PagePool& pool, int32_t host_slots = 0);
  ~PrefixCache();
  PrefixCache(const PrefixCache&) = delete;
  PrefixCache& operator=(const PrefixCache&) = delete;

  // The longest computed prefix of `tokens`, at most `max_pages` pages.
  Match find(const Space& space, std::span<const Token> tokens, int64_t max_pages) const;

  Path enter(const Space& space);
  // Lengthens the path by one page with these tokens. A node that is there is taken (its page may
  // be another than `page`, with the same content); otherwise one is made that keeps `page`,
  // computed already or pending by `owner`. Nothing happens where the path is blocked.
  void extend(Path& path, std::span<const Token> tokens, PageId page, bool computed,
              RequestId owner);
  // Lengthens the path by a stored page with these tokens, which find() has seen there.
  void hold_stored(Path& path, std::span<const Token> tokens);
  // The stored page at this place of the path comes back into `page`.
  void bring_back(Path& path, size_t index, PageId page);
  // The page at this place of the path is computed: no longer pending, if it was this owner's.
  void set_computed(Path& path, size_t index, RequestId owner);
  // Lets go; pending nodes of `owner` vanish. Without `keep` so do the others that nobody else
  // holds or continues.
  void release(Path& path, RequestId owner, bool keep = true);

  // Gives up unused nodes, oldest first, until the pool has `count` free pages; false where it
  // cannot.
  bool make_room(int32_t count);
  // Whether make_room stores what it gives up, as long as there are slots.
  void set_storing(bool storing) { is_storing_ = storing && num_slots_ > 0; }
  // What is to be copied before the next step runs, in this order.
  std::vector<PageSwap> take_swaps() { return std::exchange(swaps_, {}); }
  // Gives up all of a space that is not held.
  void drop(const Space& space);

  // Nodes that make_room could give up: at most so many pages would become free.
  int64_t num_unused() const { return static_cast<int64_t>(unused_.size()); }
  int64_t num_stored() const { return num_slots_ - static_cast<int64_t>(free_slots_.size()); }
  int64_t num_nodes() const { return static_cast<int64_t>(nodes_.size()); }
  // Pages that only this cache refers to. Walks all nodes.
  int64_t count_unshared_pages() const;

  struct Node {
    Node* parent;  // null for the root of a space
    Node* root;
    uint64_t id;
    uint64_t hash;
    std::array<Token, kPageTokens> tokens;
    PageId page;          // -1: stored
    int32_t slot = -1;    // where it is stored
    int32_t holders = 0;  // paths through here
    int32_t children = 0;
    std::optional<RequestId> pending;  // its owner
    std::list<Node*>::iterator place;  // in unused_ or stored_ where holders is 0
    const Space* space = nullptr;      // of a root
  };

 private:
  uint64_t hash_of(const Node& parent, std::span<const Token> tokens) const;
  Node* child(const Node& parent, std::span<const Token> tokens, uint64_t hash) const;
  void remove(Node* node);
  void leave_list(Node* node);
  void take_page(Node* node, PageId page);
  bool store(Node* node);
  void drop_oldest_stored();
  void drop_stored_below(const Node* node);
  void remove_if_empty(Node* root);

  PagePool& pool_;
  uint64_t key_;  // secret: nobody can choose prompts that collide
  uint64_t next_id_ = 1;
  std::map<Space, std::unique_ptr<Node>> roots_;
  // By hash of parent and tokens; equal hashes are told apart by comparing both.
  std::unordered_multimap<uint64_t, std::unique_ptr<Node>> nodes_;
  std::list<Node*> unused_;  // oldest first; a parent is never older than its children
  std::list<Node*> stored_;  // likewise
  const int64_t num_slots_;
  std::vector<int32_t> free_slots_;
  bool is_storing_ = false;
  std::vector<PageSwap> swaps_;
};

}  // namespace realm
