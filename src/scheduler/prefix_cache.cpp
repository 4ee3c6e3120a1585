#include "scheduler/prefix_cache.h"

#include <algorithm>
#include <cstring>

#include "base/check.h"
#include "engine/sampling/params.h"

namespace realm {
namespace {

// The two halves of a 128-bit product, folded: each input bit reaches every output bit.
uint64_t fold(uint64_t a, uint64_t b) {
  __extension__ using Wide = unsigned __int128;
  const Wide product = static_cast<Wide>(a) * b;
  return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
}

}  // namespace

PrefixCache::PrefixCache(PagePool& pool, int32_t host_slots)
    : pool_(pool), key_(random_seed() | 1), num_slots_(host_slots) {
  // Nearly as many as there can be.
  nodes_.reserve(static_cast<size_t>(pool.num_pages() + host_slots));
  for (int32_t slot = host_slots; slot-- > 0;) free_slots_.push_back(slot);
}

PrefixCache::~PrefixCache() {
  for (const auto& [hash, node] : nodes_) {
    if (node->page >= 0) pool_.release(node->page);
  }
}

uint64_t PrefixCache::hash_of(const Node& parent, std::span<const Token> tokens) const {
  uint64_t hash = fold(parent.id ^ key_, 0x9e3779b97f4a7c15u);
  for (size_t i = 0; i < kPageTokens; i += 2) {
    uint64_t two;
    std::memcpy(&two, tokens.data() + i, sizeof two);
    hash = fold(hash ^ two, key_);
  }
  return hash;
}

PrefixCache::Node* PrefixCache::child(const Node& parent, std::span<const Token> tokens,
                                      uint64_t hash) const {
  if (parent.children == 0) return nullptr;
  const auto [begin, end] = nodes_.equal_range(hash);
  for (auto it = begin; it != end; ++it) {
    Node* node = it->second.get();
    if (node->parent == &parent && std::equal(tokens.begin(), tokens.end(), node->tokens.begin())) {
      return node;
    }
  }
  return nullptr;
}

PrefixCache::Match PrefixCache::find(const Space& space, std::span<const Token> tokens,
                                     int64_t max_pages) const {
  Match match;
  const auto root = roots_.find(space);
  if (root == roots_.end()) return match;
  const Node* node = root->second.get();
  for (int64_t page = 0; page < max_pages; ++page) {
    const auto piece = tokens.subspan(static_cast<size_t>(page * kPageTokens), kPageTokens);
    node = child(*node, piece, hash_of(*node, piece));
    if (node == nullptr) break;
    if (match.computing && !node->pending) break;  // stored before that one is computed anew
    if (node->pending) {
      match.computing = node->pending;
      match.pages_then = page + 1;
    } else if (node->page < 0) {
      ++match.stored;
    } else {
      match.pages.push_back(node->page);
    }
  }
  return match;
}

PrefixCache::Path PrefixCache::enter(const Space& space) {
  auto [it, is_new] = roots_.try_emplace(space);
  if (is_new) {
    it->second = std::make_unique<Node>(Node{.parent = nullptr,
                                             .root = nullptr,
                                             .id = next_id_++,
                                             .hash = 0,
                                             .tokens = {},
                                             .page = -1,
                                             .pending = {},
                                             .place = {},
                                             .space = &it->first});
  }
  ++it->second->holders;
  return {.root = it->second.get()};
}

void PrefixCache::extend(Path& path, std::span<const Token> tokens, PageId page, bool computed,
                         RequestId owner) {
  CHECK(path.root != nullptr && tokens.size() == kPageTokens);
  if (path.blocked) return;
  Node* parent = path.nodes.empty() ? path.root : path.nodes.back();
  const uint64_t hash = hash_of(*parent, tokens);
  Node* node = child(*parent, tokens, hash);
  if (node != nullptr && node->pending) {
    path.blocked = true;
    return;
  }
  if (node == nullptr) {
    auto made = std::make_unique<Node>(Node{.parent = parent,
                                            .root = path.root,
                                            .id = next_id_++,
                                            .hash = hash,
                                            .tokens = {},
                                            .page = page,
                                            .pending = {},
                                            .place = {}});
    std::copy(tokens.begin(), tokens.end(), made->tokens.begin());
    if (!computed) made->pending = owner;
    pool_.retain(page);
    ++parent->children;
    node = nodes_.emplace(hash, std::move(made))->second.get();
  } else {
    if (node->holders == 0) leave_list(node);
    if (node->page < 0) {
      // Computed once more, or about to be.
      take_page(node, page);
      if (!computed) node->pending = owner;
    }
  }
  ++node->holders;
  path.nodes.push_back(node);
}

void PrefixCache::hold_stored(Path& path, std::span<const Token> tokens) {
  CHECK(path.root != nullptr && !path.blocked);
  Node* parent = path.nodes.empty() ? path.root : path.nodes.back();
  Node* node = child(*parent, tokens, hash_of(*parent, tokens));
  CHECK(node != nullptr && node->page < 0);
  if (node->holders == 0) leave_list(node);
  ++node->holders;
  path.nodes.push_back(node);
}

void PrefixCache::bring_back(Path& path, size_t index, PageId page) {
  Node* node = path.nodes[index];
  swaps_.push_back({.page = page, .slot = node->slot, .out = false});
  take_page(node, page);
}

// The node's content is in `page`, or will be, and its slot is free: swaps are done in order.
void PrefixCache::take_page(Node* node, PageId page) {
  CHECK(node->page < 0);
  pool_.retain(page);
  node->page = page;
  free_slots_.push_back(std::exchange(node->slot, -1));
}

void PrefixCache::leave_list(Node* node) {
  (node->page < 0 ? stored_ : unused_).erase(node->place);
}

void PrefixCache::set_computed(Path& path, size_t index, RequestId owner) {
  if (path.nodes[index]->pending == owner) path.nodes[index]->pending.reset();
}

void PrefixCache::release(Path& path, RequestId owner, bool keep) {
  if (path.root == nullptr) return;
  // The last page first: so it becomes older than those it follows.
  for (auto it = path.nodes.rbegin(); it != path.nodes.rend(); ++it) {
    Node* node = *it;
    if (--node->holders > 0) continue;
    if (node->pending == owner || (!keep && node->children == 0)) {
      drop_stored_below(node);
      remove(node);
    } else {
      std::list<Node*>& list = node->page < 0 ? stored_ : unused_;
      node->place = list.insert(list.end(), node);
    }
  }
  --path.root->holders;
  remove_if_empty(path.root);
  path = {};
}

void PrefixCache::remove(Node* node) {
  CHECK(node->holders == 0 && node->children == 0);
  if (node->page >= 0) {
    pool_.release(node->page);
  } else {
    free_slots_.push_back(node->slot);
  }
  --node->parent->children;
  const auto [begin, end] = nodes_.equal_range(node->hash);
  nodes_.erase(std::find_if(begin, end, [&](const auto& e) { return e.second.get() == node; }));
}

void PrefixCache::remove_if_empty(Node* root) {
  if (root->holders == 0 && root->children == 0) roots_.erase(Space(*root->space));
}

bool PrefixCache::make_room(int32_t count) {
  while (pool_.pages_free() < count && !unused_.empty()) {
    Node* node = unused_.front();
    unused_.pop_front();
    if (store(node)) continue;
    drop_stored_below(node);
    Node* root = node->root;
    remove(node);
    remove_if_empty(root);
  }
  return pool_.pages_free() >= count;
}

// What others keep the page of gains nothing from being stored.
bool PrefixCache::store(Node* node) {
  if (!is_storing_ || pool_.references(node->page) > 1) return false;
  if (free_slots_.empty()) drop_oldest_stored();
  if (free_slots_.empty()) return false;  // all held by requests about to start
  node->slot = free_slots_.back();
  free_slots_.pop_back();
  swaps_.push_back({.page = node->page, .slot = node->slot, .out = true});
  pool_.release(std::exchange(node->page, -1));
  node->place = stored_.insert(stored_.end(), node);
  return true;
}

void PrefixCache::drop_oldest_stored() {
  if (stored_.empty()) return;
  Node* node = stored_.front();
  stored_.pop_front();
  Node* root = node->root;
  remove(node);
  remove_if_empty(root);
}

// Nobody could come to them any more. They are older than what was stored after them, not than all
// the others: some of those go with them.
void PrefixCache::drop_stored_below(const Node* node) {
  while (node->children > 0) {
    CHECK(!stored_.empty());
    drop_oldest_stored();
  }
}

void PrefixCache::drop(const Space& space) {
  const auto found = roots_.find(space);
  if (found == roots_.end()) return;
  Node* root = found->second.get();
  // In order of age, children before parents, and what is stored before what is not.
  for (std::list<Node*>* list : {&stored_, &unused_}) {
    for (auto it = list->begin(); it != list->end();) {
      Node* node = *it;
      if (node->root != root) {
        ++it;
        continue;
      }
      it = list->erase(it);
      remove(node);
    }
  }
  remove_if_empty(root);
}

int64_t PrefixCache::count_unshared_pages() const {
  // A page may be kept by a tenant's space and by the published one.
  std::unordered_map<PageId, int32_t> kept;
  for (const auto& [hash, node] : nodes_) {
    if (node->page >= 0) ++kept[node->page];
  }
  return std::count_if(kept.begin(), kept.end(), [&](const auto& entry) {
    return pool_.references(entry.first) == entry.second;
  });
}

}  // namespace realm
