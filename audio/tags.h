// libsndfile's text fields and our names for them. Private to the audio library.
#pragma once

#include <sndfile.h>

#include <array>

namespace nigiri {

struct TagField {
    const char* name;
    int id;            // libsndfile's
    const char* riff;  // in a RIFF file's INFO chunk
};

inline constexpr std::array<TagField, 10> tag_fields = {{
    {"title", SF_STR_TITLE, "INAM"},
    {"copyright", SF_STR_COPYRIGHT, "ICOP"},
    {"software", SF_STR_SOFTWARE, "ISFT"},
    {"artist", SF_STR_ARTIST, "IART"},
    {"comment", SF_STR_COMMENT, "ICMT"},
    {"date", SF_STR_DATE, "ICRD"},
    {"album", SF_STR_ALBUM, "IPRD"},
    {"license", SF_STR_LICENSE, ""},
    {"tracknumber", SF_STR_TRACKNUMBER, "ITRK"},
    {"genre", SF_STR_GENRE, "IGNR"},
}};

}  // namespace nigiri
