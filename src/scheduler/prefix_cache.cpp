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

PrefixCache::PrefixCache(PagePool& pool) : pool_(pool), key_(random_seed() | 1) {
  nodes_.reserve(static_cast<size_t>(pool.num_pages()));  // nearly as many as there can be
}

PrefixCache::~PrefixCache() {
  for (const auto& [hash, node] : nodes_) pool_.release(node->page);
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
    if (node->pending) {
      match.computing = node->pending;
      match.pages_then = page + 1;
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
  } else if (node->holders == 0) {
    unused_.erase(node->place);
  }
  ++node->holders;
  path.nodes.push_back(node);
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
      remove(node);
    } else {
      node->place = unused_.insert(unused_.end(), node);
    }
  }
  --path.root->holders;
  remove_if_empty(path.root);
  path = {};
}

void PrefixCache::remove(Node* node) {
  CHECK(node->holders == 0 && node->children == 0);
  pool_.release(node->page);
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
    Node* root = node->root;
    remove(node);
    remove_if_empty(root);
  }
  return pool_.pages_free() >= count;
}

void PrefixCache::drop(const Space& space) {
  const auto found = roots_.find(space);
  if (found == roots_.end()) return;
  Node* root = found->second.get();
  // In order of age, children before parents.
  for (auto it = unused_.begin(); it != unused_.end();) {
    Node* node = *it;
    if (node->root != root) {
      ++it;
      continue;
    }
    it = unused_.erase(it);
    remove(node);
  }
  remove_if_empty(root);
}

int64_t PrefixCache::count_unshared_pages() const {
  // A page may be kept by a tenant's space and by the published one.
  std::unordered_map<PageId, int32_t> kept;
  for (const auto& [hash, node] : nodes_) ++kept[node->page];
  return std::count_if(kept.begin(), kept.end(), [&](const auto& entry) {
    return pool_.references(entry.first) == entry.second;
  });
}

}  // namespace realm
