// The words of a TEXT value: runs of letters and digits, ASCII letters in lower case. Bytes beyond
// ASCII count as letters and stay as they are, so that words of any UTF-8 script survive.
#pragma once

#include <string>
#include <string_view>

namespace emporium::worker {

inline bool IsWordByte(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
         static_cast<unsigned char>(c) >= 0x80;
}

// Calls take(word) for each word in order; the view is valid during the call.
template <class Take>
void ForEachWord(std::string_view text, Take take) {
  std::string word;
  for (size_t i = 0; i <= text.size(); ++i) {
    if (i < text.size() && IsWordByte(text[i])) {
      const char c = text[i];
      word.push_back(c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c);
    } else if (!word.empty()) {
      take(std::string_view(word));
      word.clear();
    }
  }
}

}  // namespace emporium::worker
