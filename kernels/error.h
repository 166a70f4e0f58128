// The one exception type of the library.
#pragma once

#include <stdexcept>
#include <string>
#include <utility>

namespace nigiri {

// What failed, on what, and what to do next. The command line prints it as one line,
// the studio as a message; nothing below `app` ends the process.
class Error : public std::runtime_error {
  public:
    explicit Error(const std::string& what, std::string hint = {}) : std::runtime_error(what), hint_(std::move(hint)) {}

    // What the user can do about it; may be empty.
    const std::string& hint() const { return hint_; }

  private:
    std::string hint_;
};

}  // namespace nigiri
