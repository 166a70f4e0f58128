#include "app/studio/sessions/folder_scan.h"

#include <utility>

namespace nigiri::studio {

void FolderScan::start(const std::filesystem::path& folder, int threads) {
    next_ = folder_ = folder;
    threads_ = threads;
    work_.stop();
    update();
}

void FolderScan::cancel() {
    next_.reset();
    work_.stop();
}

void FolderScan::update() {
    if (!next_ || work_.running()) return;  // what is cancelled wakes the window when it has ended
    work_.start([this, folder = *std::exchange(next_, std::nullopt), threads = threads_] {
        auto report = std::make_shared<const ScanReport>(scan(folder, {.threads = threads}, work_.progress()));
        const std::lock_guard lock(mutex_);
        report_ = std::move(report);
    });
}

std::shared_ptr<const ScanReport> FolderScan::report() const {
    const std::lock_guard lock(mutex_);
    return report_;
}

}  // namespace nigiri::studio
