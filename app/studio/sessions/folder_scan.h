// Looking through a folder of audio beside the window.
#pragma once

#include <memory>
#include <optional>

#include "app/studio/sessions/background.h"
#include "audio/scan.h"

namespace nigiri::studio {

class FolderScan {
  public:
    explicit FolderScan(Wake wake) : work_(std::move(wake)) {}

    // What runs is cancelled; `folder` follows with the next update(). The last report stays until the new one is
    // there.
    void start(const std::filesystem::path& folder, int threads = 0);
    void cancel();
    // The window's thread, every frame.
    void update();

    bool running() const { return next_.has_value() || work_.running(); }
    Background::Status status() const { return work_.status(); }
    const std::filesystem::path& folder() const { return folder_; }
    // The last finished scan, or nothing.
    std::shared_ptr<const ScanReport> report() const;

  private:
    std::filesystem::path folder_;
    int threads_ = 0;
    std::optional<std::filesystem::path> next_;
    mutable std::mutex mutex_;  // of report_
    std::shared_ptr<const ScanReport> report_;
    Background work_;  // last: it uses the others
};

}  // namespace nigiri::studio
