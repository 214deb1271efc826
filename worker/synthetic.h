// A made-up shop with planted structure (models.md 16.2), for trying Emporium where no data can be
// fetched, and for tests. Items have a topic, a Zipf popularity and a latent vector near their
// topic's; users have tastes near one or two topics. A visit is a few views, mostly of what the
// user likes, some by popularity alone, and now and then a search for words of a topic that he
// likes; what he likes best goes into the cart and is bought. Titles are made of words of the
// topic.
//
// What can be learned: who likes what beats what is popular; words tell the topic of rare items.
// A function of the options alone. One thread.
#pragma once

#include <cstdint>
#include <string>

#include "proto/status.h"

namespace emporium::worker {

struct SyntheticShopOptions {
  uint64_t seed = 1;
  int32_t users = 2000;
  int32_t items = 1000;
  int32_t topics = 20;
  double days = 120;
  double visits_per_user = 12;  // mean
  // Share of views that follow popularity alone, whatever the user likes.
  double popularity_share = 0.15;
};

// Writes `dir`/events.csv (time,user,item,action,query,visit; in the order of time) and
// `dir`/items.csv (item,title,topic). Times are seconds since 1970. A search has a query and no
// item.
Status WriteSyntheticShop(const std::string& dir, const SyntheticShopOptions& options);

}  // namespace emporium::worker
