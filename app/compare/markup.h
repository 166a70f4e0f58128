// Text that goes into pages. Names come from strangers' files: nothing of them may be read as markup.
#pragma once

#include <string>
#include <string_view>

namespace nigiri::app {

// For element content and attribute values in double quotes: & < > " ' become references; control characters and broken
// UTF-8 are replaced.
std::string html_escape(const std::string& text);
// For Markdown: every character that could begin a markup is escaped; control characters and broken UTF-8 are
// replaced.
std::string markdown_escape(const std::string& text);
// RFC 4648, with padding.
std::string base64(std::string_view bytes);

}  // namespace nigiri::app
