// Every optimizer against PyTorch (tests/reference/optimizers.txt), against a plain twin in double
// precision from non-trivial state at all sizes around the vector width, and against itself element
// by element, bit for bit.
#include "ps/optimizer.h"

#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include "tests/source_dir.h"

namespace emporium::ps {
namespace {

spec::Optimizer Parse(const std::string& text) {
  spec::Optimizer spec;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &spec)) << text;
  return spec;
}

std::unique_ptr<Optimizer> Make(const std::string& text) {
  return MakeOptimizer(Parse(text)).value();
}

const char* const kSettings[] = {
    "sgd { learning_rate: 0.1 l2: 0.01 }",
    "momentum { learning_rate: 0.1 momentum: 0.8 l2: 0.01 }",
    "adagrad { learning_rate: 0.1 initial_accumulator: 0.1 l2: 0.01 }",
    "rowwise_adagrad { learning_rate: 0.1 initial_accumulator: 0.1 l2: 0.01 }",
    "adam { learning_rate: 0.01 l2: 0.01 }",
    "adam { learning_rate: 0.01 l2: 0.01 decay_untouched: true }",
    "adamw { learning_rate: 0.01 weight_decay: 0.1 }",
    "ftrl { alpha: 0.1 beta: 1 l1: 0.2 l2: 0.3 }",
};

// ---- PyTorch
// -------------------------------------------------------------------------------------

std::vector<float> Numbers(std::istringstream& line) {
  std::vector<float> numbers;
  for (float x; line >> x;) numbers.push_back(x);
  return numbers;
}

struct Recorded {
  float factor = 0;
  std::vector<float> gradient, weights, state;  // weights and state after the step
};
struct Case {
  std::string name, settings;
  std::vector<Recorded> steps;  // the first holds what was there before
};

std::vector<Case> ReadCases() {
  const auto path = TestsFolder() / "reference/optimizers.txt";
  std::ifstream file(path);
  std::vector<Case> cases;
  for (std::string text; std::getline(file, text);) {
    std::istringstream line(text);
    std::string word;
    line >> word;
    if (word == "case") {
      cases.emplace_back();
      line >> cases.back().name;
    } else if (word == "settings") {
      std::getline(line, cases.back().settings);
      cases.back().steps.emplace_back();
    } else if (word == "step") {
      line >> cases.back().steps.emplace_back().factor;
    } else if (word == "gradient") {
      cases.back().steps.back().gradient = Numbers(line);
    } else if (word == "weights") {
      cases.back().steps.back().weights = Numbers(line);
    } else if (word == "state") {
      cases.back().steps.back().state = Numbers(line);
    }
  }
  return cases;
}

void ExpectNear(const std::vector<float>& got, const std::vector<float>& want, double relative,
                double absolute, const std::string& what) {
  ASSERT_EQ(got.size(), want.size()) << what;
  for (size_t i = 0; i < got.size(); ++i) {
    EXPECT_NEAR(got[i], want[i], absolute + relative * std::fabs(want[i]))
        << what << "[" << i << "]";
  }
}

TEST(OptimizerTest, EachStepIsWhatPyTorchDoesFromTheSameState) {
  const std::vector<Case> cases = ReadCases();
  ASSERT_EQ(cases.size(), 14u);
  for (const Case& c : cases) {
    const auto optimizer = Make(c.settings);
    for (uint32_t t = 1; t < c.steps.size(); ++t) {
      std::vector<float> weights = c.steps[t - 1].weights;
      std::vector<float> state = c.steps[t - 1].state;
      optimizer->Apply(weights, state, c.steps[t].gradient, {t}, c.steps[t].factor);
      const std::string where = c.name + " step " + std::to_string(t);
      ExpectNear(weights, c.steps[t].weights, 1e-6, 1e-7, where + " weights");
      ExpectNear(state, c.steps[t].state, 1e-6, 1e-6, where + " state");
    }
  }
}

TEST(OptimizerTest, ManyStepsEndWherePyTorchEnds) {
  for (const Case& c : ReadCases()) {
    const auto optimizer = Make(c.settings);
    std::vector<float> weights = c.steps[0].weights;
    std::vector<float> state(optimizer->StateFloats(static_cast<uint32_t>(weights.size())), -1.0f);
    optimizer->InitState(weights, state);
    ExpectNear(state, c.steps[0].state, 1e-6, 0, c.name + " first state");
    for (uint32_t t = 1; t < c.steps.size(); ++t) {
      optimizer->Apply(weights, state, c.steps[t].gradient, {t}, c.steps[t].factor);
    }
    ExpectNear(weights, c.steps.back().weights, 1e-5, 1e-6, c.name + " weights");
    ExpectNear(state, c.steps.back().state, 1e-5, 1e-5, c.name + " state");
  }
}

// ---- Plain twins
// ---------------------------------------------------------------------------------

using Doubles = std::vector<double>;

void PlainAdam(Doubles& w, Doubles& s, const Doubles& g, double rate, double beta1, double beta2,
               double epsilon, double l2, double decay, uint32_t t) {
  const size_t n = w.size();
  for (size_t i = 0; i < n; ++i) {
    const double slope = g[i] + l2 * w[i];
    s[i] = beta1 * s[i] + (1 - beta1) * slope;
    s[n + i] = beta2 * s[n + i] + (1 - beta2) * slope * slope;
    const double m = s[i] / (1 - std::pow(beta1, t));
    const double v = s[n + i] / (1 - std::pow(beta2, t));
    w[i] = w[i] - rate * decay * w[i] - rate * m / (std::sqrt(v) + epsilon);
  }
}

void PlainFtrl(const spec::Optimizer::Ftrl& o, Doubles& w, Doubles& s, const Doubles& g, double f) {
  const size_t n = w.size();
  for (size_t i = 0; i < n; ++i) {
    double& z = s[i];
    double& squares = s[n + i];
    const double sigma = (std::sqrt(squares + g[i] * g[i]) - std::sqrt(squares)) / o.alpha();
    z += f * g[i] - sigma * w[i];
    squares += g[i] * g[i];
    const double sign = z < 0 ? -1 : 1;
    w[i] = std::fabs(z) <= o.l1()
               ? 0
               : -(z - sign * o.l1()) / ((o.beta() + std::sqrt(squares)) / o.alpha() + o.l2());
  }
}

// The decay of an Adam row that `missed` steps left out, before its t-th update.
void PlainDecay(const spec::Optimizer::Adam& o, Doubles& w, const Doubles& s, RowClock clock,
                double f) {
  if (!o.decay_untouched() || clock.missed == 0 || clock.updates == 1) return;
  const size_t n = w.size();
  for (size_t i = 0; i < n; ++i) {
    const double v = s[n + i] / (1 - std::pow(static_cast<double>(o.beta2()), clock.updates - 1));
    w[i] /= 1 + clock.missed * f * o.learning_rate() * o.l2() / (std::sqrt(v) + o.epsilon());
  }
}

void PlainApply(const spec::Optimizer& spec, Doubles& w, Doubles& s, const Doubles& g,
                RowClock clock, double f) {
  const size_t n = w.size();
  const uint32_t t = clock.updates;
  if (spec.has_sgd()) {
    const auto& o = spec.sgd();
    for (size_t i = 0; i < n; ++i) w[i] -= f * o.learning_rate() * (g[i] + o.l2() * w[i]);
  } else if (spec.has_momentum()) {
    const auto& o = spec.momentum();
    for (size_t i = 0; i < n; ++i) {
      s[i] = o.momentum() * s[i] + g[i] + o.l2() * w[i];
      w[i] -= f * o.learning_rate() * s[i];
    }
  } else if (spec.has_adagrad()) {
    const auto& o = spec.adagrad();
    for (size_t i = 0; i < n; ++i) {
      const double slope = g[i] + o.l2() * w[i];
      s[i] += slope * slope;
      w[i] -= f * o.learning_rate() * slope / (std::sqrt(s[i]) + o.epsilon());
    }
  } else if (spec.has_rowwise_adagrad()) {
    const auto& o = spec.rowwise_adagrad();
    double squares = 0;
    for (size_t i = 0; i < n; ++i) squares += std::pow(g[i] + o.l2() * w[i], 2);
    s[0] += squares / static_cast<double>(n);
    const double rate = f * o.learning_rate() / (std::sqrt(s[0]) + o.epsilon());
    for (size_t i = 0; i < n; ++i) w[i] -= rate * (g[i] + o.l2() * w[i]);
  } else if (spec.has_adam()) {
    const auto& o = spec.adam();
    PlainDecay(o, w, s, clock, f);
    PlainAdam(w, s, g, f * o.learning_rate(), o.beta1(), o.beta2(), o.epsilon(), o.l2(), 0, t);
  } else if (spec.has_adamw()) {
    const auto& o = spec.adamw();
    PlainAdam(w, s, g, f * o.learning_rate(), o.beta1(), o.beta2(), o.epsilon(), 0,
              o.weight_decay(), t);
  } else {
    PlainFtrl(spec.ftrl(), w, s, g, f);
  }
}

// A row in the middle of training: random, with positive sums of squares.
struct Row {
  std::vector<float> weights, state, gradient;
  uint32_t updates = 1;
  uint32_t missed = 0;  // before the first of them
  float factor = 1;
};

Row RandomRow(const Optimizer& optimizer, uint32_t dim, std::mt19937_64& random) {
  std::normal_distribution<float> normal;
  Row row;
  row.weights.resize(dim);
  row.gradient.resize(dim);
  row.state.resize(optimizer.StateFloats(dim));
  for (float& w : row.weights) w = normal(random);
  for (float& g : row.gradient) g = normal(random);
  for (float& s : row.state) s = std::fabs(normal(random)) + 0.01f;
  row.updates = 1 + static_cast<uint32_t>(random() % 3000);
  row.missed = random() % 2 == 0 ? 0 : static_cast<uint32_t>(random() % 500);
  row.factor = static_cast<float>(random() % 100) / 100;
  return row;
}

TEST(OptimizerTest, AgreesWithItsPlainTwinAtEverySize) {
  std::mt19937_64 random(7);
  for (const char* settings : kSettings) {
    const spec::Optimizer spec = Parse(settings);
    const auto optimizer = MakeOptimizer(spec).value();
    for (uint32_t dim = 1; dim <= 40; ++dim) {
      Row row = RandomRow(*optimizer, dim, random);
      Doubles weights(row.weights.begin(), row.weights.end());
      Doubles state(row.state.begin(), row.state.end());
      const Doubles gradient(row.gradient.begin(), row.gradient.end());
      for (uint32_t t = row.updates; t < row.updates + 3; ++t) {
        const RowClock clock = {t, t == row.updates ? row.missed : 0};
        optimizer->Apply(row.weights, row.state, row.gradient, clock, row.factor);
        PlainApply(spec, weights, state, gradient, clock, row.factor);
      }
      const std::string where = std::string(settings) + " dim " + std::to_string(dim);
      ExpectNear(row.weights, {weights.begin(), weights.end()}, 1e-5, 3e-6, where + " weights");
      ExpectNear(row.state, {state.begin(), state.end()}, 1e-5, 1e-5, where + " state");
    }
  }
}

bool SameBits(std::span<const float> a, std::span<const float> b) {
  if (a.size() != b.size()) return false;
  return a.empty() || std::memcmp(a.data(), b.data(), a.size_bytes()) == 0;
}

TEST(OptimizerTest, AnElementDoesNotSeeTheWidthOfItsRow) {
  std::mt19937_64 random(8);
  for (const char* settings : kSettings) {
    if (Parse(settings).has_rowwise_adagrad()) continue;  // elements share an accumulator
    const auto optimizer = Make(settings);
    for (uint32_t dim = 1; dim <= 40; ++dim) {
      Row row = RandomRow(*optimizer, dim, random);
      const Row before = row;
      optimizer->Apply(row.weights, row.state, row.gradient, {row.updates, row.missed}, row.factor);
      const size_t states = row.state.size() / dim;
      for (size_t i = 0; i < dim; ++i) {
        float weight = before.weights[i];
        std::vector<float> state, want;
        for (size_t k = 0; k < states; ++k) {
          state.push_back(before.state[k * dim + i]);
          want.push_back(row.state[k * dim + i]);
        }
        optimizer->Apply({&weight, 1}, state, {&before.gradient[i], 1}, {row.updates, row.missed},
                         row.factor);
        EXPECT_TRUE(SameBits({&weight, 1}, {&row.weights[i], 1})) << settings << " " << dim;
        EXPECT_TRUE(SameBits(state, want)) << settings << " " << dim;
      }
    }
  }
}

TEST(OptimizerTest, MisalignedSpansGiveTheSameBits) {
  std::mt19937_64 random(9);
  for (const char* settings : kSettings) {
    const auto optimizer = Make(settings);
    const Row row = RandomRow(*optimizer, 37, random);
    std::vector<float> weights = row.weights, state = row.state;
    optimizer->Apply(weights, state, row.gradient, {row.updates, row.missed}, row.factor);
    for (size_t shift = 1; shift < 4; ++shift) {
      std::vector<float> room(shift + 37 + state.size() + 37);
      const std::span<float> w(room.data() + shift, 37);
      const std::span<float> s(w.data() + 37, state.size());
      const std::span<float> g(s.data() + s.size(), 37);
      std::copy(row.weights.begin(), row.weights.end(), w.begin());
      std::copy(row.state.begin(), row.state.end(), s.begin());
      std::copy(row.gradient.begin(), row.gradient.end(), g.begin());
      optimizer->Apply(w, s, g, {row.updates, row.missed}, row.factor);
      EXPECT_TRUE(SameBits(w, weights) && SameBits(s, state)) << settings << " shift " << shift;
    }
  }
}

// Rows of one batch, laid out so that neither weights nor state nor gradients are aligned.
struct Batch {
  std::vector<float> room, gradients;
  std::vector<float*> weights, state;
  std::vector<const float*> gradient_rows;
  std::vector<uint32_t> updates, missed;

  Batch(const Optimizer& optimizer, size_t rows, uint32_t dim, uint64_t seed) {
    std::mt19937_64 random(seed);
    const size_t states = optimizer.StateFloats(dim);
    room.assign(1 + rows * (dim + states + 1), 7.0f);  // what lies between rows stays 7
    gradients.assign(1, 7.0f);
    for (size_t r = 0; r < rows; ++r) {
      const Row row = RandomRow(optimizer, dim, random);
      weights.push_back(room.data() + 1 + r * (dim + states + 1));
      state.push_back(weights.back() + dim);
      std::copy(row.weights.begin(), row.weights.end(), weights.back());
      std::copy(row.state.begin(), row.state.end(), state.back());
      gradients.insert(gradients.end(), row.gradient.begin(), row.gradient.end());
      updates.push_back(r % 3 == 2 ? 5000 : row.updates);
      missed.push_back(row.missed);
    }
    // What makes slow or special numbers.
    for (size_t i = 0; i < gradients.size(); i += 11) gradients[i] = i % 2 == 0 ? 1e-40f : -0.0f;
    room[1] = 1e-39f;
    for (size_t r = 0; r < rows; ++r) gradient_rows.push_back(gradients.data() + 1 + r * dim);
  }
  RowBatch view(uint32_t dim) const {
    return {weights.size(), dim, weights.data(), state.data(), gradient_rows.data(), updates.data(),
            missed.data(),  0.7f};
  }
};

TEST(OptimizerTest, EveryLevelGivesTheSameBitsAtEverySize) {
  for (const std::string settings : kSettings) {
    for (const char* clip : {"", " clip_norm: 2"}) {
      const auto optimizer = Make(settings + clip);
      for (uint32_t dim = 1; dim <= 130; ++dim) {
        Batch plain(*optimizer, 3, dim, dim);
        for (int t = 0; t < 3; ++t) optimizer->ApplyWith(SimdLevel::kPlain, plain.view(dim));
        for (const SimdLevel level : kSimdLevels) {
          if (!HasSimd(level)) continue;
          Batch batch(*optimizer, 3, dim, dim);
          for (int t = 0; t < 3; ++t) optimizer->ApplyWith(level, batch.view(dim));
          EXPECT_TRUE(SameBits(batch.room, plain.room))
              << settings << clip << " dim " << dim << " level " << static_cast<int>(level);
        }
      }
    }
  }
}

TEST(OptimizerTest, ABatchIsItsRowsOneByOne) {
  for (const std::string settings : kSettings) {
    const auto optimizer = Make(settings + " clip_norm: 3");
    Batch batch(*optimizer, 7, 33, 1);
    Batch single(*optimizer, 7, 33, 1);
    optimizer->ApplyRows(batch.view(33));
    const size_t states = optimizer->StateFloats(33);
    for (size_t r = 0; r < 7; ++r) {
      optimizer->Apply({single.weights[r], 33}, {single.state[r], states},
                       {single.gradients.data() + 1 + r * 33, 33},
                       {single.updates[r], single.missed[r]}, 0.7f);
    }
    EXPECT_TRUE(SameBits(batch.room, single.room)) << settings;
  }
}

// ---- Clipping
// -----------------------------------------------------------------------------------

double Norm(std::span<const float> x) {
  double squares = 0;
  for (float v : x) squares += double{v} * v;
  return std::sqrt(squares);
}

TEST(OptimizerTest, AClippedGradientIsTheGradientScaledToTheNorm) {
  std::mt19937_64 random(12);
  for (const std::string settings : kSettings) {
    const auto plain = Make(settings);
    const auto clipped = Make(settings + " clip_norm: 1.5");
    for (uint32_t dim : {1u, 5u, 16u, 33u, 64u}) {
      for (const float scale : {0.01f, 3.0f}) {  // below and (but for the shortest rows) above
        Row row = RandomRow(*plain, dim, random);
        for (float& g : row.gradient) g *= scale;
        Row want = row;
        const double norm = Norm(row.gradient);
        if (norm > 1.5) {
          for (float& g : want.gradient) g = static_cast<float>(g * (1.5 / norm));
        }
        clipped->Apply(row.weights, row.state, row.gradient, {row.updates, row.missed}, row.factor);
        plain->Apply(want.weights, want.state, want.gradient, {want.updates, want.missed},
                     want.factor);
        ExpectNear(row.weights, want.weights, 1e-5, 1e-6, settings);
        ExpectNear(row.state, want.state, 1e-5, 1e-6, settings);
        EXPECT_TRUE(norm > 1.5 || SameBits(row.weights, want.weights)) << settings;
      }
    }
  }
}

TEST(OptimizerTest, AGradientScaleIsTheGradientScaled) {
  for (const std::string settings : kSettings) {
    const auto optimizer = Make(settings);
    const auto clipped = Make(settings + " clip_norm: 1.5");
    for (uint32_t dim : {1u, 5u, 16u, 33u}) {
      for (const float scale : {0.0f, 0.37f, 1.0f}) {
        Batch whole(*optimizer, 5, dim, dim), scaled(*optimizer, 5, dim, dim);
        Batch both(*optimizer, 5, dim, dim), twice(*optimizer, 5, dim, dim);
        for (Batch* batch : {&scaled, &twice}) {
          for (float& g : batch->gradients) g *= scale;
        }
        RowBatch view = whole.view(dim);
        view.gradient_scale = scale;
        optimizer->ApplyRows(view);
        optimizer->ApplyRows(scaled.view(dim));
        EXPECT_TRUE(SameBits(whole.room, scaled.room)) << settings << " " << dim << " " << scale;
        // Clipping by the row's norm comes after it.
        view = both.view(dim);
        view.gradient_scale = scale;
        clipped->ApplyRows(view);
        clipped->ApplyRows(twice.view(dim));
        ExpectNear(both.room, twice.room, 1e-5, 1e-6, settings);
      }
    }
  }
}

TEST(OptimizerTest, AGradientBeyondTheRangeOfItsNormIsDropped) {
  const auto optimizer = Make("sgd { learning_rate: 1 } clip_norm: 1");
  std::vector<float> weights = {1, 2}, none;
  optimizer->Apply(weights, none, std::vector<float>{3e38f, -3e38f}, {1}, 1);
  EXPECT_EQ(weights, (std::vector<float>{1, 2}));
}

// ---- The rest
// ------------------------------------------------------------------------------------

TEST(OptimizerTest, AFactorOfZeroLeavesWeightsWithoutPenaltiesAlone) {
  std::mt19937_64 random(10);
  for (const char* settings : {"sgd {}", "momentum {}", "adagrad {}", "rowwise_adagrad {}",
                               "adam {}", "adamw {}", "ftrl {}"}) {
    const auto optimizer = Make(settings);
    Row row = RandomRow(*optimizer, 9, random);
    const std::vector<float> before = row.weights;
    optimizer->InitState(row.weights, row.state);
    for (uint32_t t = 1; t < 4; ++t) {
      optimizer->Apply(row.weights, row.state, row.gradient, {t}, 0);
    }
    ExpectNear(row.weights, before, 1e-6, 0, settings);
  }
}

TEST(OptimizerTest, FtrlWithoutPenaltiesStepsByItsRateTimesTheFactor) {
  const auto optimizer = Make("ftrl { alpha: 0.1 beta: 2 }");
  std::vector<float> weights = {0.5f}, state(2);
  optimizer->InitState(weights, state);
  double expected = 0.5, squares = 0;
  const float gradients[] = {1.0f, -0.5f, 2.0f};
  const float factors[] = {0.1f, 1.0f, 0.5f};
  for (uint32_t t = 0; t < 3; ++t) {
    squares += gradients[t] * gradients[t];
    expected -= factors[t] * 0.1 / (2 + std::sqrt(squares)) * gradients[t];
    optimizer->Apply(weights, state, {&gradients[t], 1}, {t + 1}, factors[t]);
    EXPECT_NEAR(weights[0], expected, 1e-6);
  }
}

TEST(OptimizerTest, FtrlWithoutBetaDividesByNoZero) {
  const auto optimizer = Make("ftrl { alpha: 0.1 beta: 0 }");
  std::vector<float> weights = {0, 0}, state(4);
  optimizer->InitState(weights, state);
  optimizer->Apply(weights, state, std::vector<float>{0, 2}, {1}, 1);
  EXPECT_EQ(weights[0], 0);
  EXPECT_NEAR(weights[1], -0.1, 1e-7);  // the first step is alpha long whatever the gradient
}

TEST(OptimizerTest, SettingsThatMakeNoSenseAreNamed) {
  const std::pair<const char*, const char*> bad[] = {
      {"", "none is named"},
      {"sgd {} clip_norm: -1", "clip_norm must be 0 or more"},
      {"sgd {} clip_norm: nan", "clip_norm must be 0 or more"},
      {"sgd { learning_rate: -1 }", "sgd: learning_rate"},
      {"sgd { learning_rate: nan }", "sgd: learning_rate"},
      {"sgd { learning_rate: inf }", "sgd: learning_rate"},
      {"momentum { momentum: 1 }", "momentum: momentum"},
      {"adagrad { epsilon: 0 }", "adagrad: epsilon"},
      {"rowwise_adagrad { initial_accumulator: -0.1 }", "rowwise_adagrad: initial_accumulator"},
      {"adam { beta1: 1 }", "adam: beta1"},
      {"adam { beta2: -0.5 }", "adam: beta2"},
      {"adamw { weight_decay: -1 }", "adamw: weight_decay"},
      {"ftrl { alpha: 0 }", "ftrl: alpha"},
      {"ftrl { beta: -1 }", "ftrl: beta"},
      {"ftrl { l1: nan }", "ftrl: l1"},
  };
  for (const auto& [settings, message] : bad) {
    const auto made = MakeOptimizer(Parse(settings));
    ASSERT_FALSE(made.ok()) << settings;
    EXPECT_EQ(made.status().code(), StatusCode::kInvalidArgument);
    EXPECT_NE(made.status().message().find(message), std::string::npos) << made.status().message();
  }
}

}  // namespace
}  // namespace emporium::ps
