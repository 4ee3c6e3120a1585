#include "server/http/request_reader.h"

#include <gtest/gtest.h>

namespace realm::server {
namespace {

struct Outcome {
  std::optional<HttpProblem> problem;
  bool done = false;
  HttpRequest request;
  std::string rest;
};

// Feeds `bytes` in pieces of `step`.
Outcome read(const std::string& bytes, size_t step = std::string::npos, HttpLimits limits = {}) {
  RequestReader reader(limits);
  Outcome outcome;
  std::string in;
  for (size_t at = 0; at < bytes.size() && !reader.is_done();) {
    const size_t n = std::min(step, bytes.size() - at);
    in.append(bytes, at, n);
    at += n;
    for (size_t consumed = 1; consumed > 0 && !in.empty() && !reader.is_done();) {
      outcome.problem = reader.feed(in, consumed);
      in.erase(0, consumed);
      if (outcome.problem) return outcome;
    }
    outcome.rest = in + bytes.substr(at);
  }
  outcome.done = reader.is_done();
  if (outcome.done) outcome.request = reader.take();
  return outcome;
}

int status(const std::string& bytes, HttpLimits limits = {}) {
  const Outcome outcome = read(bytes, std::string::npos, limits);
  return outcome.problem ? outcome.problem->status : 0;
}

constexpr const char* kPost =
    "POST /v1/x?a=b HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n"
    "Content-Length: 5\r\n\r\nhelloGET / HTTP/1.1\r\n";

TEST(RequestReader, IsTheSameForAnyCutOfTheBytes) {
  for (size_t step = 1; step < 40; ++step) {
    const Outcome outcome = read(kPost, step);
    ASSERT_TRUE(outcome.done) << step;
    EXPECT_EQ(outcome.request.method, "POST");
    EXPECT_EQ(outcome.request.path, "/v1/x");
    EXPECT_EQ(outcome.request.query, "a=b");
    EXPECT_EQ(outcome.request.body, "hello");
    ASSERT_NE(outcome.request.find("content-type"), nullptr);
    EXPECT_EQ(*outcome.request.find("content-type"), "application/json");
    EXPECT_EQ(outcome.rest, "GET / HTTP/1.1\r\n") << "what follows is the next request's";
  }
}

TEST(RequestReader, StopsBeforeTheBody) {
  HttpLimits limits;
  RequestReader reader(limits);
  size_t consumed = 0;
  ASSERT_FALSE(reader.feed(kPost, consumed));
  EXPECT_TRUE(reader.has_head());
  EXPECT_FALSE(reader.is_done());
  EXPECT_EQ(std::string(kPost + consumed).substr(0, 5), "hello");
}

TEST(RequestReader, TakesChunkedBodies) {
  const Outcome outcome = read(
      "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n"
      "\r\n",
      3);
  ASSERT_TRUE(outcome.done);
  EXPECT_EQ(outcome.request.body, "abcde");
}

// Beast's parser asserted here that more bytes had come than such a chunk has.
TEST(RequestReader, TakesALastChunkInAnyPieces) {
  const std::string head = "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
  for (size_t step = 1; step < 12; ++step) {
    const Outcome empty = read(head + "0\r\n\r\n", step);
    ASSERT_TRUE(empty.done) << step;
    EXPECT_EQ(empty.request.body, "");
    const Outcome one = read(head + "1\r\na\r\n0\r\n\r\n", step);
    ASSERT_TRUE(one.done) << step;
    EXPECT_EQ(one.request.body, "a");
    const Outcome wrong = read(head + "0\r\nabc\r\n0\r\n\r\n", step);
    EXPECT_FALSE(wrong.done) << step;
  }
}

TEST(RequestReader, TakesTheAbsoluteForm) {
  const Outcome outcome = read("GET http://h:1/p HTTP/1.1\r\nHost: h\r\n\r\n");
  ASSERT_TRUE(outcome.done);
  EXPECT_EQ(outcome.request.path, "/p");
}

TEST(RequestReader, RefusesWhatTwoReadersCouldTakeDifferently) {
  EXPECT_EQ(status("GET / HTTP/1.1\r\n\r\n"), 400) << "no host";
  EXPECT_EQ(status("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"), 400);
  EXPECT_EQ(status("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n"),
            400);
  EXPECT_EQ(status("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n"
                   "Transfer-Encoding: chunked\r\n\r\n"),
            400);
  EXPECT_EQ(status("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: -1\r\n\r\n"), 400);
  EXPECT_EQ(status("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 99999999999999999999\r\n\r\n"),
            400);
  EXPECT_EQ(status("GET / HTTP/1.1\r\nHost: h\r\nAuthorization: a\r\nAuthorization: b\r\n\r\n"),
            400);
  EXPECT_EQ(status("GET / HTTP/1.1\r\nHost : h\r\n\r\n"), 400);
  EXPECT_EQ(status("GET nowhere HTTP/1.1\r\nHost: h\r\n\r\n"), 400);
  EXPECT_EQ(status("GET / HTTP/3.0\r\nHost: h\r\n\r\n"), 505);
  EXPECT_EQ(status("\x16\x03\x01 TLS hello\r\n\r\n"), 400);
  EXPECT_EQ(status("POST / HTTP/1.1\r\nHost: h\r\nContent-Encoding: gzip\r\n\r\n"), 415);
  EXPECT_EQ(status("POST / HTTP/1.1\r\nHost: h\r\nExpect: more\r\n\r\n"), 417);
}

TEST(RequestReader, HoldsToItsLimits) {
  HttpLimits limits;
  limits.header_bytes_max = 1000;
  limits.headers_max = 10;
  limits.target_bytes_max = 50;
  limits.body_bytes_max = 10;
  const std::string begin = "GET / HTTP/1.1\r\nHost: h\r\n";
  EXPECT_EQ(status(begin + "A: " + std::string(2000, 'a') + "\r\n\r\n", limits), 431);
  std::string many = begin;
  for (int i = 0; i < 20; ++i) many += "X" + std::to_string(i) + ": 1\r\n";
  EXPECT_EQ(status(many + "\r\n", limits), 431);
  EXPECT_EQ(status("GET /" + std::string(60, 'a') + " HTTP/1.1\r\nHost: h\r\n\r\n", limits), 414);
  EXPECT_EQ(status("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 11\r\n\r\n", limits), 413);
  EXPECT_EQ(status("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
                   "b\r\nabcdefghijk\r\n",
                   limits),
            413);
}

TEST(RequestReader, SeesTheWishForAWebSocket) {
  const std::string head = "GET /v1/ws HTTP/1.1\r\nHost: h\r\n";
  EXPECT_TRUE(read(head + "Upgrade: WebSocket\r\nConnection: keep-alive, Upgrade\r\n\r\n")
                  .request.wants_upgrade);
  EXPECT_FALSE(read(head + "Upgrade: websocket\r\n\r\n").request.wants_upgrade);
  EXPECT_FALSE(read(head + "Upgrade: h2c\r\nConnection: Upgrade\r\n\r\n").request.wants_upgrade);
}

TEST(Message, DecodesPercent) {
  EXPECT_EQ(decode_percent("a%2Fb%20c+d"), "a/b c+d");
  EXPECT_EQ(decode_percent("%zz%4"), "%zz%4");
}

}  // namespace
}  // namespace realm::server
