//! What is promised of lists: pages, order, filters.

use serde_json::{Value, json};

use crate::scene::{Scene, error};

async fn names(scene: &Scene, query: &str) -> Vec<String> {
    let line = format!("GET /api/v2/current_user/application_keys{query}");
    let listed = scene.call(&line, Value::Null).await;
    assert_eq!(listed.status, 200, "{query}: {}", listed.text());
    let listed = listed.json();
    let data = listed["data"].as_array().unwrap();
    data.iter()
        .map(|key| key["attributes"]["name"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn a_list_is_cut_into_pages_and_without_a_size_has_a_hundred() {
    let scene = Scene::over_a_file().await;
    for number in 0..130 {
        let key =
            crate::harness::application_key(&scene.acme.user, &format!("key {number:03}"), &[]);
        scene.gateway.key(key).await;
    }
    assert_eq!(names(&scene, "").await.len(), 100);
    assert_eq!(names(&scene, "?page[number]=1").await.len(), 31);
    let mut seen = Vec::new();
    for page in 0.. {
        let some = names(
            &scene,
            &format!("?page%5Bsize%5D=40&page%5Bnumber%5D={page}&sort=-created_at"),
        )
        .await;
        let is_last = some.len() < 40;
        seen.extend(some);
        if is_last {
            break;
        }
    }
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 131, "no page repeats or misses one");
    let listed = scene
        .call(
            "GET /api/v2/current_user/application_keys?page[size]=1",
            Value::Null,
        )
        .await;
    assert_eq!(
        listed.json()["meta"],
        json!({"page": {"total_filtered_count": 131}, "max_allowed_per_user": 1000})
    );
    for query in [
        "page[size]=0",
        "page[size]=101",
        "page[size]=ten",
        "page[number]=-1",
        "sort=key",
    ] {
        let refused = scene
            .call(&format!("GET /api/v2/api_keys?{query}"), Value::Null)
            .await;
        assert_eq!(refused.status, 400, "{query}");
        assert!(error(&refused).contains("give"), "{}", error(&refused));
    }
}

#[tokio::test]
async fn a_list_is_sorted_and_filtered_as_asked() {
    let scene = Scene::over_a_file().await;
    for name in ["beta", "Alpha", "alpine"] {
        scene
            .gateway
            .key(crate::harness::api_key(&scene.acme.id, name))
            .await;
    }
    let listed = async |query: &str| {
        let reply = scene
            .call(&format!("GET /api/v2/api_keys?{query}"), Value::Null)
            .await;
        assert_eq!(reply.status, 200, "{query}: {}", reply.text());
        let reply = reply.json();
        let names = reply["data"].as_array().unwrap().iter();
        names
            .map(|key| key["attributes"]["name"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(listed("filter=AL").await, ["Alpha", "alpine"]);
    assert_eq!(listed("filter=alp&sort=-name").await, ["alpine", "Alpha"]);
    assert_eq!(
        listed("filter[created_at][start]=2100-01-01").await.len(),
        0
    );
    assert_eq!(
        listed("filter[created_at][end]=2100-01-01T00:00:00%2B00:00")
            .await
            .len(),
        4
    );
    assert_eq!(
        listed("filter[modified_at][start]=2020-01-01T00:00:00Z")
            .await
            .len(),
        4
    );
    assert_eq!(listed("filter[category]=edge").await.len(), 0);
    assert_eq!(
        listed("filter[remote_config_read_enabled]=true")
            .await
            .len(),
        4
    );

    let other = scene.member("ann", keygate::keys::Role::Standard).await.0;
    let owned = format!("GET /api/v2/application_keys?filter[owned_by]={other}&include=owned_by");
    let owned = scene.call(&owned, Value::Null).await.json();
    assert_eq!(owned["meta"]["page"]["total_filtered_count"], 1);
    assert_eq!(
        owned["included"][0]["attributes"]["email"],
        "ann@acme.example"
    );
    assert_eq!(owned["included"][1]["type"], "roles");

    let users = async |query: &str| {
        let reply = scene
            .call(&format!("GET /api/v2/users?{query}"), Value::Null)
            .await
            .json();
        reply["meta"]["page"]["total_filtered_count"]
            .as_u64()
            .unwrap()
    };
    assert_eq!(users("").await, 2);
    assert_eq!(users("filter=ANN@").await, 1);
    assert_eq!(users("filter[status]=Disabled").await, 0);
    assert_eq!(users("filter[status]=Active,Pending").await, 2);
    let listed = scene
        .call("GET /api/v2/users?sort=-name&page[size]=1", Value::Null)
        .await
        .json();
    assert_eq!(listed["data"].as_array().unwrap().len(), 1);
    assert_eq!(
        listed["meta"]["page"],
        json!({"total_filtered_count": 2, "total_count": 2})
    );
}
