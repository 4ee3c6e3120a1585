"""Model files that are not acceptable: exit status 3 and one sentence that names the file and the fault."""

import os
import shutil
import struct

import tiny_model
from harness import BAD_MODEL, FAILED, RealmTest, main
from gguf_file import ARRAY, F16, FLOAT32, INT32, STRING, UINT32, Tensor


class BadModels(RealmTest):
    def refuse(self, content: bytes, *says: str):
        """Every command that loads the model must refuse it in the same way."""
        model = self.write("model.gguf", content)
        outcome = self.fail_with(BAD_MODEL, "logits", model, "--tokens", "1,2,3", "-o", self.path("out.f32"),
                                 says=["model.gguf", *says])
        self.fail_with(BAD_MODEL, "run", model, "hi", "-n", "4", says=["model.gguf", *says])
        self.assert_only("model.gguf")
        return outcome

    def refuse_changed(self, change, *says: str):
        model = tiny_model.make()
        change(model)
        return self.refuse(model.bytes(), *says)

    def refuse_metadata(self, key: str, kind, value, *says: str):
        def change(model):
            model.metadata[key] = (kind, value)
        return self.refuse_changed(change, *says)


class NotAModel(BadModels):
    def test_the_unspoilt_model_is_accepted(self):
        model = self.write("model.gguf", tiny_model.make().bytes())
        self.succeed("logits", model, "--tokens", "1,2,3", "-o", self.path("out.f32"))
        self.assertEqual(self.path("out.f32").stat().st_size, 3 * tiny_model.VOCAB * 4)

    def test_empty(self):
        self.refuse(b"")

    def test_wrong_type(self):
        self.refuse(b"Dear reader, this is a letter and not a model.\n" * 100)
        self.refuse(b"\x89PNG\r\n\x1a\n" + bytes(1000))
        self.refuse(b"PK\x03\x04" + bytes(1000))

    def test_cut_off_anywhere(self):
        whole = tiny_model.make()
        content, header = whole.bytes(), len(whole.header())
        for size in (3, 4, 7, 12, 23, 24, 30, header // 2, header - 1, header, header + 1, len(content) // 2,
                     len(content) - 40):
            with self.subTest(size=size):
                self.refuse(content[:size])

    def test_too_new_and_too_old(self):
        for version in (0, 1, 4, 99):
            with self.subTest(version=version):
                def change(model):
                    model.version = version
                self.refuse_changed(change, "version", str(version))

    def test_big_endian_is_named(self):
        content = tiny_model.make().bytes()
        self.refuse(content[:4] + struct.pack(">I", 3) + content[8:], "big-endian")

    def test_not_there(self):
        self.fail_with((FAILED, BAD_MODEL), "run", self.path("absent.gguf"), "hi", says=["absent.gguf"])

    def test_a_folder_without_a_model(self):
        self.fail_with((FAILED, BAD_MODEL), "logits", self.dir, "--tokens", "1", "-o", self.path("o"),
                       says=[self.dir.name])
        self.assert_only()

    def test_unreadable(self):
        model = self.write("model.gguf", tiny_model.make().bytes())
        model.chmod(0)
        as_user = {}
        if os.getuid() == 0:
            self.dir.chmod(0o755)
            as_user = {"user": 65534, "group": 65534, "extra_groups": []}
            if shutil.which("true") is None or not _reachable_by_others():
                self.skipTest("the program lies where another user may not run it")
        self.fail_with((FAILED, BAD_MODEL), "inspect", model, says=["model.gguf", "permission"], **as_user)


def _reachable_by_others() -> bool:
    from harness import BIN
    parents = list(BIN.resolve().parents)
    return all(parent.stat().st_mode & 0o001 for parent in parents) and bool(BIN.stat().st_mode & 0o005)


class Header(BadModels):
    def test_alignment(self):
        for value in (0, 3, 1 << 31):
            with self.subTest(value=value):
                self.refuse_metadata("general.alignment", UINT32, value, "alignment")

    def test_counts_beyond_the_file(self):
        content = tiny_model.make().bytes()
        for offset in (8, 16):
            for count in (1 << 63, (1 << 64) - 1, 1 << 40):
                with self.subTest(offset=offset, count=count):
                    self.refuse(content[:offset] + struct.pack("<Q", count) + content[offset + 8:])

    def test_string_beyond_the_file(self):
        content = tiny_model.make().bytes()
        self.refuse(content[:24] + struct.pack("<Q", 1 << 63) + content[32:])

    def test_unknown_value_type(self):
        key = b"general.name"
        content = tiny_model.make().bytes()
        at = content.index(key) + len(key)
        self.refuse(content[:at] + struct.pack("<I", 77) + content[at + 4:], "general.name")

    def test_array_of_arrays(self):
        key = b"tokenizer.ggml.merges"
        content = tiny_model.make().bytes()
        at = content.index(key) + len(key) + 4
        self.refuse(content[:at] + struct.pack("<I", ARRAY) + content[at + 4:], "tokenizer.ggml.merges")


class Tensors(BadModels):
    def entry(self, content: bytes, name: bytes) -> int:
        """Where the fields after the tensor's name begin: rank, dims, type, offset."""
        at = content.index(struct.pack("<Q", len(name)) + name) + 8 + len(name)
        return at

    def test_missing(self):
        for name in ("token_embd.weight", "output_norm.weight", "blk.1.attn_k.weight", "blk.0.ffn_norm.weight"):
            with self.subTest(name):
                self.refuse_changed(lambda model: model.tensors.pop(name), name.replace(".", r"\."))

    def test_wrong_shape(self):
        def transpose(model):
            tensor = model.tensors["blk.0.ffn_up.weight"]
            tensor.dims = tensor.dims[::-1]

        def shorten(model):
            tensor = model.tensors["blk.1.attn_norm.weight"]
            model.tensors["blk.1.attn_norm.weight"] = Tensor([32], tensor.dtype, tensor.data[:128])
        self.refuse_changed(transpose, r"blk\.0\.ffn_up\.weight")
        self.refuse_changed(shorten, r"blk\.1\.attn_norm\.weight")

    def test_dimensions_that_overflow(self):
        content = tiny_model.make().bytes()
        at = self.entry(content, b"token_embd.weight")
        for first, second in ((1 << 32, 1 << 32), (1 << 63, 2), ((1 << 64) - 1, 1), (0, 261)):
            with self.subTest(first=first, second=second):
                self.refuse(content[:at + 4] + struct.pack("<QQ", first, second) + content[at + 20:],
                            "token_embd")

    def test_offset_beyond_the_file(self):
        content = tiny_model.make().bytes()
        at = self.entry(content, b"blk.0.ffn_up.weight") + 4 + 16 + 4
        for offset in (1 << 40, (1 << 64) - 32):
            with self.subTest(offset=offset):
                self.refuse(content[:at] + struct.pack("<Q", offset) + content[at + 8:], "ffn_up")

    def test_type_out_of_range(self):
        content = tiny_model.make().bytes()
        at = self.entry(content, b"blk.0.ffn_up.weight") + 4 + 16
        for kind in (4, 5, 1000, 0xFFFFFFFF):
            with self.subTest(kind=kind):
                self.refuse(content[:at] + struct.pack("<I", kind) + content[at + 4:], "ffn_up")

    def test_a_type_that_is_no_weight_type(self):
        def change(model):
            tensor = model.tensors["blk.0.ffn_up.weight"]
            tensor.dtype = 26  # I32, of the same size
        self.refuse_changed(change, "ffn_up")

    def test_duplicate_name(self):
        content = tiny_model.make().bytes()
        self.refuse(content.replace(b"blk.1.ffn_up.weight", b"blk.0.ffn_up.weight"), "ffn_up")

    def test_weights_that_are_not_numbers(self):
        for name in ("blk.0.ffn_up.weight", "output_norm.weight", "token_embd.weight"):
            for bits in (0x7FC00000, 0x7F800000):
                with self.subTest(name=name, bits=hex(bits)):
                    def change(model):
                        tensor = model.tensors[name]
                        tensor.data = struct.pack("<I", bits) * (len(tensor.data) // 4)
                    self.refuse_changed(change, "nan|not a number|infinit|finite")

    def test_half_precision_weights_that_are_not_numbers(self):
        def change(model):
            tensor = model.tensors["blk.1.ffn_down.weight"]
            model.tensors["blk.1.ffn_down.weight"] = Tensor(tensor.dims, F16, struct.pack("<H", 0x7E00) * (96 * 64))
        self.refuse_changed(change, "nan|not a number|infinit|finite")


class Hyperparameters(BadModels):
    def test_unknown_architecture(self):
        self.refuse_metadata("general.architecture", STRING, "perceptron-9000", "perceptron-9000", "architecture")

    def test_missing_key(self):
        for key in ("general.architecture", "llama.block_count", "llama.embedding_length",
                    "llama.attention.head_count", "llama.attention.layer_norm_rms_epsilon"):
            with self.subTest(key):
                self.refuse_changed(lambda model: model.metadata.pop(key), key.replace(".", r"\."))

    def test_out_of_range(self):
        for key, value in [("llama.block_count", 0), ("llama.block_count", 1 << 31), ("llama.embedding_length", 0),
                           ("llama.attention.head_count", 0), ("llama.attention.head_count_kv", 0),
                           ("llama.attention.head_count_kv", 3), ("llama.attention.key_length", 0),
                           ("llama.context_length", 0), ("llama.rope.dimension_count", 7),
                           ("llama.feed_forward_length", 0), ("llama.feed_forward_length", 0xFFFFFFFF)]:
            with self.subTest(key=key, value=value):
                self.refuse_metadata(key, UINT32, value)

    def test_wrong_kind(self):
        self.refuse_metadata("llama.block_count", STRING, "two", r"llama\.block_count")
        self.refuse_metadata("llama.attention.layer_norm_rms_epsilon", FLOAT32, float("nan"), "epsilon")


class Vocabulary(BadModels):
    def test_unknown_pre_tokenizer(self):
        self.refuse_metadata("tokenizer.ggml.pre", STRING, "klingon-bpe", "klingon-bpe")

    def test_unknown_tokenizer_model(self):
        self.refuse_metadata("tokenizer.ggml.model", STRING, "abjad", "abjad")

    def test_ids_out_of_range(self):
        for key in ("tokenizer.ggml.bos_token_id", "tokenizer.ggml.eos_token_id"):
            for value in (tiny_model.VOCAB, 0x7FFFFFFF):
                with self.subTest(key=key, value=value):
                    self.refuse_metadata(key, UINT32, value, key.rsplit(".", 1)[-1])

    def test_lengths_that_differ(self):
        self.refuse_metadata("tokenizer.ggml.token_type", (ARRAY, INT32), [1, 1, 1], "token_type")

    def test_vocabulary_and_embedding_differ(self):
        tokens = tiny_model.make().metadata["tokenizer.ggml.tokens"][1]

        def change(model):
            model.metadata["tokenizer.ggml.tokens"] = ((ARRAY, STRING), tokens + ["extra"])
            model.metadata["tokenizer.ggml.token_type"] = ((ARRAY, INT32), [1] * (len(tokens) + 1))
            model.metadata["llama.vocab_size"] = (UINT32, len(tokens) + 1)
        self.refuse_changed(change, "token_embd|vocab")

    def test_merge_without_a_space(self):
        self.refuse_metadata("tokenizer.ggml.merges", (ARRAY, STRING), ["he"], "merges")


class OtherCommands(BadModels):
    def test_each_refuses_what_is_no_model(self):
        bad = self.write("bad.gguf", tiny_model.make().bytes()[:5000])
        text = self.write("text.txt", "hello there " * 200)
        for command in (["inspect", bad], ["tokenize", bad, "hi"], ["detokenize", bad, "1"],
                        ["perplexity", bad, "-f", text], ["quantize", bad, self.path("o.gguf"), "Q8_0"],
                        ["imatrix", bad, "-f", text, "-o", self.path("o.imatrix")],
                        ["bench", bad, "-p", "4", "-n", "1"]):
            with self.subTest(command[0]):
                self.fail_with(BAD_MODEL, *command, says=["bad.gguf"])
        self.assert_only("bad.gguf", "text.txt")


if __name__ == "__main__":
    main()
