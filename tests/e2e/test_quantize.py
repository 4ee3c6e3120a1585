"""quantize, imatrix, convert, synth and inspect: files out of files."""

import array
import json

import gguf_file
import tiny_model
from gguf_file import F32, Tensor
from harness import EMBEDDED, BAD_MODEL, RealmTest, main, read_floats, relative_error

TYPES = ["F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K_S", "Q3_K_M", "Q3_K_L", "Q4_K_S", "Q4_K_M",
         "Q5_K_S", "Q5_K_M", "Q6_K", "IQ3_XXS", "IQ3_S", "IQ4_NL", "IQ4_XS", "MXFP4", "TQ1_0", "TQ2_0"]
# Below three bits nothing comes out without knowing which weights matter.
IMATRIX_TYPES = ["IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ1_S", "IQ1_M"]


class Quantize(RealmTest):
    def test_every_type_loads_again(self):
        # Rows of 256, so that every block format fits.
        source = self.write("source.gguf", tiny_model.make(embed=256, feed=256).bytes())
        for kind in TYPES:
            with self.subTest(kind):
                out = self.path("out.gguf")
                self.succeed("quantize", source, out, kind)
                self.assertLess(out.stat().st_size, source.stat().st_size * 0.6)
                report = self.succeed("inspect", out, "--json").json()
                self.assertIn(kind.replace("_S", "").replace("_M", "").replace("_L", "") if "_K_" in kind else kind,
                              json.dumps(report))
                self.succeed("logits", out, "--tokens", "1,2,3", "-o", self.path("l.f32"))

    def test_reports_as_json(self):
        source = self.write("source.gguf", tiny_model.make().bytes())
        report = self.succeed("quantize", source, self.path("out.gguf"), "Q8_0", "--json").json()
        self.assertEqual(report["tensors"], 20)
        self.assertLess(report["bytes_after"], report["bytes_before"])
        text = self.write("t.txt", "some words to look at, one after another. " * 30)
        report = self.succeed("imatrix", source, "-f", text, "--ctx", "64", "-o", self.path("m"), "--json").json()
        self.assertEqual(report["tokens"], 64 * report["windows"])

    def test_error_shrinks_with_bits(self):
        def logits(model):
            self.succeed("logits", model, "--tokens", "1,361,208,627,1391,414,460", "-o", self.path("l.f32"))
            return read_floats(self.path("l.f32"))
        reference, last = logits(EMBEDDED), 0.0
        for kind in ("Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "Q2_K"):
            self.succeed("quantize", EMBEDDED, self.path("out.gguf"), kind)
            error = relative_error(logits(self.path("out.gguf")), reference)
            self.assertGreaterEqual(error, last, kind)
            last = error
        self.assertLess(last, 1.0)

    def test_metadata_is_kept(self):
        model = tiny_model.make()
        model.metadata["general.name"] = (gguf_file.STRING, "kept, ünïcode too")
        self.succeed("quantize", self.write("model.gguf", model.bytes()), self.path("out.gguf"), "Q8_0")
        out = gguf_file.parse(self.path("out.gguf").read_bytes())
        # As the file holds it: a float of 32 bits is not Python's.
        for key, entry in gguf_file.parse(model.bytes()).metadata.items():
            self.assertEqual(out.metadata[key], entry, key)
        self.assertEqual(list(out.tensors), list(model.tensors))
        self.assertEqual(out.tensors["blk.0.ffn_up.weight"].dtype, gguf_file.Q8_0)
        self.assertEqual(out.tensors["blk.0.attn_norm.weight"].dtype, gguf_file.F32)

    def test_formats_that_need_an_importance_matrix_say_so(self):
        for kind in IMATRIX_TYPES:
            with self.subTest(kind):
                self.fail_with((1, 2), "quantize", EMBEDDED, self.path("out.gguf"), kind, says=["imatrix"])
                self.assert_only()

    def test_importance_matrix(self):
        text = self.shared("models", "realm-tiny", "eval", "dialogues.txt")
        matrix = self.path("m.imatrix")
        self.succeed("imatrix", EMBEDDED, "-f", self.write("t.txt", text.read_text()[:8000]), "-o", matrix)
        self.succeed("quantize", EMBEDDED, self.path("out.gguf"), "IQ2_XXS", "--imatrix", matrix, timeout=300)
        self.succeed("logits", self.path("out.gguf"), "--tokens", "1,2,3", "-o", self.path("l.f32"))

    def test_importance_matrix_of_another_model(self):
        other = self.write("other.gguf", tiny_model.make().bytes())
        text = self.write("t.txt", "some words to look at, one after another. " * 30)
        self.succeed("imatrix", other, "-f", text, "--ctx", "64", "-o", self.path("m.imatrix"))
        self.fail_with((1, 2, BAD_MODEL), "quantize", EMBEDDED, self.path("out.gguf"), "Q4_K_M", "--imatrix",
                       self.path("m.imatrix"), says=["imatrix"])

    def test_not_a_matrix(self):
        self.fail_with((1, BAD_MODEL), "quantize", EMBEDDED, self.path("out.gguf"), "Q4_K_M", "--imatrix",
                       self.write("m.imatrix", "nonsense"), says=[r"m\.imatrix"])


class Convert(RealmTest):
    def test_golden_checkpoints_equal_their_gguf(self):
        for name in ("llama3-rope", "qwen3"):
            with self.subTest(name):
                folder = self.shared("golden", name)
                golden = json.loads((folder / "golden.json").read_text())
                self.succeed("convert", folder, self.path("out.gguf"), "--type", "F16")
                self.succeed("logits", self.path("out.gguf"), "--tokens", ",".join(map(str, golden["tokens"])),
                             "--kv-type", "f32", "-o", self.path("l.f32"))
                self.assertLess(relative_error(read_floats(self.path("l.f32")), read_floats(folder / "logits.f32")), 1e-3)

    def test_spoilt_checkpoints(self):
        folder = self.shared("golden", "llama3-rope")

        def copy(**changes: bytes):
            for path in folder.iterdir():
                if path.name not in ("model.gguf", "logits.f32"):
                    self.path("ckpt").mkdir(exist_ok=True)
                    (self.path("ckpt") / path.name).write_bytes(path.read_bytes())
            for name, content in changes.items():
                (self.path("ckpt") / name).write_bytes(content)
        weights = (folder / "model.safetensors").read_bytes()
        config = json.loads((folder / "config.json").read_text())
        cases = [({"model.safetensors": weights[:1000]}, "safetensors"),
                 ({"model.safetensors": b""}, "safetensors"),
                 ({"model.safetensors": (1 << 63).to_bytes(8, "little") + weights[8:]}, "safetensors"),
                 ({"config.json": b"{"}, r"config\.json"),
                 ({"config.json": b"[]"}, r"config\.json"),
                 ({"config.json": json.dumps({**config, "architectures": ["FooForCausalLM"],
                                              "model_type": "foo"}).encode()}, "foo"),
                 ({"config.json": json.dumps({**config, "num_hidden_layers": 99}).encode()}, "99|layers"),
                 ({"config.json": json.dumps({**config, "hidden_size": -1}).encode()}, "hidden_size"),
                 ({"tokenizer.json": b"{}"}, "tokenizer")]
        for changes, says in cases:
            with self.subTest(says):
                copy(**changes)
                self.fail_with(BAD_MODEL, "convert", self.path("ckpt"), self.path("out.gguf"), says=[says])
                self.assert_only("ckpt")

    def test_folder_without_a_checkpoint(self):
        self.path("empty").mkdir()
        self.fail_with((1, BAD_MODEL), "convert", self.path("empty"), self.path("out.gguf"), says=["config.json"])


class SynthAndInspect(RealmTest):
    def test_synth_has_the_shape_it_says(self):
        out = self.path("m.gguf")
        self.succeed("synth", out, "--preset", "tinyllama", "--type", "Q4_0", "--layers", "2", "--seed", "7")
        first = out.read_bytes()
        model = gguf_file.parse_header(first)
        self.assertEqual(model["llama.embedding_length"], 2048)
        self.assertEqual(model["llama.block_count"], 2)
        self.succeed("synth", out, "--preset", "tinyllama", "--type", "Q4_0", "--layers", "2", "--seed", "7")
        self.assertTrue(out.read_bytes() == first, "the same seed gives the same file")
        bench = self.succeed("bench", out, "-p", "16", "-n", "4", "-r", "1", "--json").json()
        for entry in bench:
            for key in ("test", "n_prompt", "n_gen", "depth", "sequences", "tok_s", "tok_s_min", "tok_s_max", "gb_s",
                        "backend", "threads", "model_type"):
                self.assertIn(key, entry)
            self.assertGreater(entry["tok_s"], 0)
            self.assertLessEqual(entry["tok_s_min"], entry["tok_s"])
            self.assertGreaterEqual(entry["tok_s_max"], entry["tok_s"])

    def test_unknown_preset_is_named(self):
        self.fail_with(2, "synth", self.path("m.gguf"), "--preset", "lama-8b", "--type", "Q4_0",
                       says=["'lama-8b'.*did you mean 'llama-8b'"])
        self.fail_with(2, "synth", self.path("m.gguf"), "--preset", "mystery", "--type", "Q4_0",
                       says=["'mystery'.*there are tinyllama"])
        self.assert_only()

    def test_inspect(self):
        text = self.succeed("inspect", EMBEDDED).text
        for word in ("llama", "Q8_0", "8192"):
            self.assertIn(word, text)
        self.assertIn("blk.7.ffn_down.weight", self.succeed("inspect", EMBEDDED, "--tensors").text)
        self.assertIsInstance(self.succeed("inspect", EMBEDDED, "--json").json(), dict)

    def test_weights_of_every_size(self):
        """A model whose rows are no whole number of blocks keeps those tensors unquantized."""
        model = tiny_model.make()
        values = array.array("f", [0.01] * (tiny_model.EMBED * tiny_model.FEED)).tobytes()
        model.tensors["blk.0.ffn_down.weight"] = Tensor([tiny_model.FEED, tiny_model.EMBED], F32, values)
        self.succeed("quantize", self.write("model.gguf", model.bytes()), self.path("out.gguf"), "Q4_K_M")
        self.succeed("logits", self.path("out.gguf"), "--tokens", "1,2", "-o", self.path("l.f32"))


if __name__ == "__main__":
    main()
