# Every handler, state by application data, folders from the payload.
import json
import os

import clara


def prepare(driver):
    driver.application_data["prepared"] = True
    return True


def execute(driver, payload):
    state = driver.application_data
    state["job"] = [str(driver.job_id), driver.job_name, driver.stage_name]
    state["inputs"] = {entry.name: sorted(os.listdir(entry.path)) for entry in payload.input_entries}
    with open(payload.output_entries[0].path + "/state.json", "w") as file:
        json.dump(state, file)
    return True


def cleanup(driver):
    print("cleaned", driver.application_data["prepared"])
    return True


driver = clara.Driver(
    prepare_handler=prepare,
    execute_handler=execute,
    cleanup_handler=cleanup,
    notification_handler=lambda *anything: None,
    application_data={},
)
driver.start()
driver.wait_for_completion()
