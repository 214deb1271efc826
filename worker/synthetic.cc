#include "worker/synthetic.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <numeric>
#include <vector>

#include "worker/sampler.h"

namespace emporium::worker {
namespace {

constexpr int kLatent = 8;
constexpr double kZipf = 1.1;
constexpr int64_t kStart = 1'600'000'000;  // the first second of the shop
constexpr double kDay = 86400;
constexpr int kWordsPerTopic = 12;
constexpr int kConsidered = 30;  // items that a user looks over before he views one

using Latent = std::array<double, kLatent>;

double Dot(const Latent& a, const Latent& b) {
  return std::inner_product(a.begin(), a.end(), b.begin(), 0.0);
}

// A pronounceable word: a function of its number alone.
std::string Word(uint64_t number) {
  static constexpr const char* kSyllables[] = {"ba",  "ro", "ti",  "ken", "lu", "mar", "so",  "vi",
                                               "dan", "pe", "qui", "zon", "fa", "gri", "hol", "ny"};
  std::string word;
  uint64_t bits = Mix(number + 1);
  for (int i = 0; i < 3; ++i, bits >>= 4) {
    word += kSyllables[bits & 15];
  }
  return word + std::to_string(number % 97);
}

struct Event {
  double time = 0;
  int32_t user = 0;
  int32_t item = -1;
  const char* action = "";
  std::string query;
  int64_t visit = 0;
};

class Shop {
 public:
  explicit Shop(const SyntheticShopOptions& options)
      : options_(options),
        random_(options.seed, Purpose::kSynthetic, {0}),
        popularity_(ZipfWeights(options.items)) {
    for (int32_t t = 0; t < options_.topics; ++t) {
      topics_.push_back(Near({}, 1.0));
    }
    for (int32_t i = 0; i < options_.items; ++i) {
      topic_of_item_.push_back(static_cast<int32_t>(random_.Below(topics_.size())));
      items_.push_back(Near(topics_[static_cast<size_t>(topic_of_item_.back())], 0.35));
    }
    for (int32_t u = 0; u < options_.users; ++u) {
      const size_t liked = random_.Below(topics_.size());
      favourite_.push_back(static_cast<int32_t>(liked));
      Latent taste = Near(topics_[liked], 0.3);
      const Latent& second = topics_[random_.Below(topics_.size())];
      for (size_t d = 0; d < kLatent; ++d) {
        taste[d] += 0.4 * second[d];
      }
      users_.push_back(taste);
    }
  }

  std::vector<Event> Visits() {
    std::vector<Event> events;
    int64_t visit = 0;
    for (int32_t user = 0; user < options_.users; ++user) {
      // At least three, so that leave-one-out has something to leave.
      const double mean = options_.visits_per_user;
      const auto visits =
          3 + static_cast<int>(-std::max(0.0, mean - 3) * std::log(1 - random_.Unit()));
      for (int v = 0; v < visits; ++v) {
        Visit(user, visit++, &events);
      }
    }
    std::stable_sort(events.begin(), events.end(),
                     [](const Event& a, const Event& b) { return a.time < b.time; });
    return events;
  }

  std::string Title(int32_t item) const {
    const auto topic = static_cast<uint64_t>(topic_of_item_[static_cast<size_t>(item)]);
    RandomStream words(options_.seed, Purpose::kSynthetic, {1, static_cast<uint64_t>(item)});
    std::string title = TopicWord(topic, words.Below(kWordsPerTopic));
    title += " " + TopicWord(topic, words.Below(kWordsPerTopic));
    return title + " " + Word(1'000'000 + static_cast<uint64_t>(item));
  }
  int32_t topic(int32_t item) const { return topic_of_item_[static_cast<size_t>(item)]; }

 private:
  static std::vector<double> ZipfWeights(int32_t n) {
    std::vector<double> weights;
    weights.reserve(static_cast<size_t>(n));
    for (int32_t i = 0; i < n; ++i) {
      weights.push_back(std::pow(i + 1.0, -kZipf));
    }
    return weights;
  }
  static std::string TopicWord(uint64_t topic, uint64_t word) {
    return Word(topic * kWordsPerTopic + word);
  }
  Latent Near(Latent centre, double spread) {
    for (double& x : centre) {
      x += spread * random_.Normal();
    }
    return centre;
  }

  // Of some items, a few met by popularity and most by chance, the one liked best.
  int32_t Choose(int32_t user) {
    if (random_.Unit() < options_.popularity_share) {
      return static_cast<int32_t>(popularity_.Draw(&random_));
    }
    int32_t best = 0;
    double best_score = -1e300;
    for (int i = 0; i < kConsidered; ++i) {
      const auto item = static_cast<int32_t>(
          random_.Unit() < 0.25 ? popularity_.Draw(&random_)
                                : random_.Below(static_cast<uint64_t>(options_.items)));
      const double score =
          Dot(users_[static_cast<size_t>(user)], items_[static_cast<size_t>(item)]) +
          0.5 * random_.Normal();
      if (score > best_score) {
        best_score = score;
        best = item;
      }
    }
    return best;
  }

  void Visit(int32_t user, int64_t visit, std::vector<Event>* events) {
    double time = static_cast<double>(kStart) + random_.Unit() * options_.days * kDay;
    const auto add = [&](int32_t item, const char* action, std::string query) {
      events->push_back({std::floor(time), user, item, action, std::move(query), visit});
      time += 20 + 60 * random_.Unit();
    };
    if (random_.Unit() < 0.3) {
      const auto topic = static_cast<uint64_t>(favourite_[static_cast<size_t>(user)]);
      add(-1, "search",
          TopicWord(topic, random_.Below(kWordsPerTopic)) + " " +
              TopicWord(topic, random_.Below(kWordsPerTopic)));
    }
    const auto views = 1 + random_.Below(3);
    for (uint64_t v = 0; v < views; ++v) {
      const int32_t item = Choose(user);
      add(item, "view", "");
      const double liking =
          Dot(users_[static_cast<size_t>(user)], items_[static_cast<size_t>(item)]);
      if (random_.Unit() < 1 / (1 + std::exp(3 - 0.5 * liking))) {
        add(item, "cart", "");
        if (random_.Unit() < 0.5) {
          add(item, "purchase", "");
        }
      }
    }
  }

  const SyntheticShopOptions options_;
  RandomStream random_;
  const AliasTable popularity_;
  std::vector<Latent> topics_;
  std::vector<int32_t> topic_of_item_;
  std::vector<Latent> items_;
  std::vector<Latent> users_;
  std::vector<int32_t> favourite_;  // topic of each user
};

}  // namespace

Status WriteSyntheticShop(const std::string& dir, const SyntheticShopOptions& options) {
  if (options.users < 1 || options.items < 1 || options.topics < 1 || !(options.days > 0)) {
    return InvalidArgument("a made-up shop needs users, items, topics and days");
  }
  std::error_code error;
  std::filesystem::create_directories(dir, error);
  Shop shop(options);
  std::ofstream events(dir + "/events.csv", std::ios::binary);
  events << "time,user,item,action,query,visit\n";
  for (const Event& event : shop.Visits()) {
    events << static_cast<int64_t>(event.time) << ",u" << event.user << ",";
    if (event.item >= 0) {
      events << "i" << event.item;
    }
    events << "," << event.action << "," << event.query << "," << event.visit << "\n";
  }
  std::ofstream items(dir + "/items.csv", std::ios::binary);
  items << "item,title,topic\n";
  for (int32_t item = 0; item < options.items; ++item) {
    items << "i" << item << "," << shop.Title(item) << ",t" << shop.topic(item) << "\n";
  }
  events.close();
  items.close();
  if (!events || !items) {
    return ResourceExhausted(dir + ": the made-up shop cannot be written; is there space?");
  }
  return Status::Ok();
}

}  // namespace emporium::worker
