// What the programs on C++ gRPC share.
#pragma once

#include <filesystem>
#include <fstream>
#include <string>

// How long all threads of this process ran so far, in seconds, as the scheduler counts it.
inline double cpu_seconds() {
  double total = 0;
  for (const auto& task : std::filesystem::directory_iterator("/proc/self/task")) {
    std::ifstream file(task.path() / "schedstat");
    double run = 0;
    if (file >> run) total += run * 1e-9;
  }
  return total;
}

// The value of `--name=value`, or what it is when nobody says.
inline long flag(int argc, char** argv, const std::string& name, long otherwise) {
  const std::string start = "--" + name + "=";
  for (int index = 1; index < argc; ++index) {
    const std::string argument = argv[index];
    if (argument.rfind(start, 0) == 0) return std::stol(argument.substr(start.size()));
  }
  return otherwise;
}
